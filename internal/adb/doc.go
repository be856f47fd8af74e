// Package adb reads and writes ADB files, the container of apk v3: a tree of
// values in one block, signatures over it, and blocks of file data after it. It
// knows nothing of packages and indexes; who uses it gives the slots of an
// object their meaning.
//
// A file is a header and blocks, compressed as a whole:
//
//	"ADB." schema             the header, eight bytes
//	ADB block                 one; its content is the payload, a tree of values
//	SIG blocks                any number; each is one signature over the payload
//	DATA blocks               any number; what they mean is said in the payload
//
// All integers are little endian. Everything that is read is taken to be
// hostile: sizes are bounded, every offset is checked, and data is handed out
// only once the caller has trusted the payload.
package adb
