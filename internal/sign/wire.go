package sign

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// maxFrame bounds one message between a caller and the signer, in bytes.
const maxFrame = 128 << 20

// A Handler answers one kind of request beside the keys. It must not sign bytes
// that the request holds, only what it worked out itself from files.
type Handler func(ctx context.Context, s *Session, request json.RawMessage) (response any, err error)

// A Session is what handlers work with.
type Session struct {
	Keys *Keys
	// Separate is true if this process has a user of its own. See Public.
	Separate bool
}

// Serving says what a signer serves.
type Serving struct {
	Dir      string             // the keys folder
	Handlers map[string]Handler // by the name of the request; those in own are there always
}

// hello is the first message to the signer.
type hello struct {
	Passphrase []byte `json:"passphrase,omitempty"`
}

type request struct {
	Verb string          `json:"verb"`
	Body json.RawMessage `json:"body"`
}

type response struct {
	Body  json.RawMessage `json:"body,omitempty"`
	Error *wireError      `json:"error,omitempty"`
}

// A wireError is a fault.Error on its way between processes.
type wireError struct {
	Kind   fault.Kind `json:"kind"`
	File   string     `json:"file,omitempty"`
	Line   int        `json:"line,omitempty"`
	What   string     `json:"what"`
	Remedy string     `json:"remedy,omitempty"`
}

func toWire(err error) *wireError {
	var f *fault.Error
	if errors.As(err, &f) {
		return &wireError{Kind: f.Kind, File: f.File, Line: f.Line, What: f.What, Remedy: f.Remedy}
	}
	return &wireError{Kind: fault.KindOf(err), What: err.Error()}
}

func (w *wireError) fault() error {
	return &fault.Error{Kind: w.Kind, File: w.File, Line: w.Line, What: w.What, Remedy: w.Remedy}
}

// ServeSigner is the signer process: it opens the keys with the passphrase that
// the first message brings, and answers requests, one at a time, until in ends.
// It calls itself separate only if in is a pipe that another user made. Messages
// are JSON with a length of four bytes, big-endian, before it.
func ServeSigner(ctx context.Context, in io.Reader, out io.Writer, s Serving) error {
	// No other process of this user may look into the memory of this one.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fault.New(fault.Internal, "protect the signer's memory: %w", err)
	}
	return serve(ctx, in, out, s, separated(in))
}

func serve(ctx context.Context, in io.Reader, out io.Writer, s Serving, separate bool) error {
	var first hello
	if err := readFrame(in, &first); err != nil {
		return err
	}
	keys, err := Open(s.Dir, first.Passphrase)
	if err != nil {
		return writeFrame(out, response{Error: toWire(err)})
	}
	return answer(ctx, in, out, &Session{Keys: keys, Separate: separate}, s.Handlers)
}

// answer greets with the public keys and answers requests until in ends.
func answer(ctx context.Context, in io.Reader, out io.Writer, s *Session, handlers map[string]Handler) error {
	public, err := s.Keys.Public()
	if err != nil {
		return writeFrame(out, response{Error: toWire(err)})
	}
	public.Separate = s.Separate
	if err := reply(out, public, nil); err != nil {
		return err
	}
	for {
		var r request
		if err := readFrame(in, &r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		handler, ok := own[r.Verb]
		if !ok {
			handler, ok = handlers[r.Verb]
		}
		var body any
		err := error(fault.New(fault.Internal, "the signer does not know the request %q", r.Verb))
		if ok {
			body, err = handler(ctx, s, r.Body)
		}
		if err := reply(out, body, err); err != nil {
			return err
		}
	}
}

func reply(out io.Writer, body any, err error) error {
	if err != nil {
		return writeFrame(out, response{Error: toWire(err)})
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return writeFrame(out, response{Error: toWire(err)})
	}
	return writeFrame(out, response{Body: raw})
}

// separated reports whether this process has a user of its own: all its user ids
// are the same, not root's, and another than that of the process that made the
// pipe on which requests come. A pipe keeps the user who made it, also after that
// process has ended. Whatever cannot be made sure of counts as not separate.
func separated(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	var fs unix.Statfs_t
	var pipe unix.Stat_t
	fd := int(f.Fd())
	if unix.Fstatfs(fd, &fs) != nil || fs.Type != unix.PIPEFS_MAGIC || unix.Fstat(fd, &pipe) != nil {
		return false // the owner of a file in a folder says nothing about who writes to it
	}
	uid, effective, saved := unix.Getresuid()
	return uid != 0 && uid == effective && uid == saved && uid != int(pipe.Uid)
}

func writeFrame(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxFrame {
		return fault.New(fault.Invalid, "a message of more than %d bytes for the signer", maxFrame)
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body)))
	_, err = w.Write(append(frame, body...))
	return err
}

func readFrame(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return fault.New(fault.Invalid, "a message of %d bytes, at most %d are allowed", n, maxFrame)
	}
	body, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err != nil {
		return err
	}
	if len(body) < int(n) {
		return io.ErrUnexpectedEOF
	}
	return json.Unmarshal(body, v)
}

// The requests that every signer answers.
const (
	verbRelease    = "release"
	verbAPKPackage = "apk-package"
	verbAPKIndex   = "apk-index"
	verbAPKKeys    = "apk-keys"
)

var own = map[string]Handler{
	verbRelease: handleRelease, verbAPKPackage: handleAPKPackages, verbAPKIndex: handleAPKIndex, verbAPKKeys: handleAPKKeys,
}

// A releaseRequest asks for signed Releases over the same files. The answer is a
// []pgp.Signed.
type releaseRequest struct {
	Dir      string    `json:"dir"`
	Releases [][]byte  `json:"releases"`
	Now      time.Time `json:"now"`
}
