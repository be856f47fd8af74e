package apk

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"io"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bounds on what a v2 package unpacks to, in bytes.
const (
	maxControl = 16 << 20
	maxData    = 64 << 30
	maxOther   = 1000 // files of the control part that apk does not know
)

// A V2Package is a package of the second generation: a file of two or three
// gzip members, signatures (which may be missing), control and data.
type V2Package struct {
	Info    Info
	Scripts Scripts
	// Other are the names of files in the control part that apk passes over, as
	// ".melange.yaml".
	Other []string

	Signatures []Signature
	// SignedBy is the name of the key whose signature holds, "" if OpenV2 was
	// given no keyring.
	SignedBy string

	Identity      Identity          // SHA-1 of the compressed control part
	ControlSHA256 [sha256.Size]byte // of the same
	DataSHA256    [sha256.Size]byte // of the compressed data part, as the control part says

	// ControlOffset and DataOffset say where in the file the parts begin.
	ControlOffset, DataOffset int64

	src *source
}

// OpenV2 reads signatures and control part of a package from r and no more than
// it must. With a keyring, even an empty one, the package must be signed by a
// key of it, else that is fault.Denied; with nil signatures are not looked at,
// which is right for a package that a signed index vouches for by its Identity.
// Errors of form are fault.Invalid. The package reads from r when Walk is called.
func OpenV2(r io.Reader, keys Keyring) (*V2Package, error) {
	p := &V2Package{src: openSource(r)}
	if err := p.readHead(keys); err != nil {
		p.close()
		return nil, notV2(err)
	}
	return p, nil
}

// notV2 says that the file is no good package; errors of reading stay.
func notV2(err error) error {
	switch fault.KindOf(err) {
	case fault.Invalid:
		return fault.Within(err, "not a well-formed .apk")
	case fault.Denied:
		return fault.Within(err, "package")
	}
	return err
}

// close gives back what reading needs.
func (p *V2Package) close() {
	if p.src != nil {
		p.src.release()
		p.src = nil
	}
}

// readHead reads signatures and control part.
func (p *V2Package) readHead(keys Keyring) error {
	sums := newSums(keys != nil)
	tar, err := p.src.readMember(maxControl, sums.all...)
	if err != nil {
		return err
	}
	if isSignaturePart(tar) {
		if len(tar) > maxSignaturePart {
			return invalid("signature part: too large")
		}
		if p.Signatures, err = parseSignatures(tar); err != nil {
			return err
		}
		p.ControlOffset = p.src.at
		sums = newSums(keys != nil)
		if tar, err = p.src.readMember(maxControl, sums.all...); err != nil {
			return err
		}
	}
	p.DataOffset = p.src.at
	p.Identity = Identity(sums.sha1.Sum(nil))
	sums.sha256.Sum(p.ControlSHA256[:0])
	if keys != nil {
		if p.SignedBy, err = keys.verify(p.Signatures, sums.sum); err != nil {
			return err
		}
	}
	return p.parseControl(tar)
}

// sums are the digests of a control part.
type sums struct {
	sha1, sha256, sha512 hash.Hash
	all                  []hash.Hash
}

// newSums returns sums; SHA-512 is made only for signatures.
func newSums(signed bool) sums {
	s := sums{sha1: sha1.New(), sha256: sha256.New()}
	s.all = []hash.Hash{s.sha1, s.sha256}
	if signed {
		s.sha512 = sha512.New()
		s.all = append(s.all, s.sha512)
	}
	return s
}

// sum returns one of the digests.
func (s sums) sum(h crypto.Hash) []byte {
	switch h {
	case crypto.SHA1:
		return s.sha1.Sum(nil)
	case crypto.SHA512:
		return s.sha512.Sum(nil)
	}
	return s.sha256.Sum(nil)
}

// parseControl reads the tar of the control part: .PKGINFO, scripts, and files
// whose name begins with a dot, which do not matter.
func (p *V2Package) parseControl(tar []byte) error {
	t := tarReader{r: bytes.NewReader(tar)}
	slots := p.Scripts.slots()
	seen := map[string]bool{}
	for {
		e, err := t.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		switch {
		case e.Kind != RegularFile || !strings.HasPrefix(e.Path, ".") || strings.Contains(e.Path, "/") || hasControl(e.Path):
			return invalid("control part: %q does not belong there", clip(e.Path))
		case e.Path == ".INSTALL" || strings.HasPrefix(e.Path, signaturePrefix):
			return invalid("control part: apk refuses %q there", clip(e.Path))
		case seen[e.Path]:
			return invalid("control part: %q is there twice", clip(e.Path))
		case len(seen) == maxOther:
			return invalid("control part: more than %d files", maxOther)
		}
		seen[e.Path] = true
		if err := p.controlFile(e, &t, slots); err != nil {
			return err
		}
	}
	if !seen[pkgInfo] {
		return invalid("control part: no %s", pkgInfo)
	}
	return endless(&t)
}

const pkgInfo = ".PKGINFO"

// controlFile takes one file of the control part.
func (p *V2Package) controlFile(e *tarEntry, t *tarReader, slots []scriptSlot) error {
	if e.Path == pkgInfo {
		b, err := io.ReadAll(t)
		if err == nil {
			p.Info, p.DataSHA256, err = ParsePkgInfo(b)
		}
		if fault.Is(err, fault.Invalid) {
			return fault.Within(err, "%s", pkgInfo)
		}
		return err
	}
	for _, slot := range slots {
		if e.Path[1:] != slot.name {
			continue
		}
		if e.Size > maxScript {
			return invalid("control part: the script %s is larger than %d bytes", slot.name, maxScript)
		}
		b, err := io.ReadAll(t)
		*slot.data = b
		return err
	}
	p.Other = append(p.Other, e.Path)
	return nil
}

// Walk calls fn for every file of the package, in its order, with the content of
// a regular file. It can be called once. What fn reads is checked only after it
// was read: nothing that fn was given may be trusted before Walk has returned
// nil. Then the SHA-1 of every file that has one (without, apk audit cannot tell
// whether it was changed) and the digest of the whole data part hold, every file is there once, below the root, after the folder that it is in, and
// nothing follows. Errors of form are fault.Invalid, a digest that does not hold
// is fault.Denied, and an error of fn is returned as it is.
func (p *V2Package) Walk(fn func(*Entry, io.Reader) error) error {
	if p.src == nil {
		return fault.New(fault.Internal, "the package %s is read twice", clip(p.Info.Name))
	}
	defer p.close()
	sum := sha256.New()
	if err := p.src.open(sum); err != nil {
		return notV2(err)
	}
	plain := &limited{r: p.src, left: maxData}
	w := walker{tar: tarReader{r: plain}, fn: fn, seen: map[string]Kind{}, sum: sha1.New()}
	if err := w.walk(); err != nil {
		if w.stopped {
			return err
		}
		return notV2(fault.Within(err, "data part"))
	}
	p.src.end()
	if [sha256.Size]byte(sum.Sum(nil)) != p.DataSHA256 {
		return notV2(fault.New(fault.Denied, "the data part is not the one that the control part names").
			Fix("the file was changed; fetch it again"))
	}
	switch more, err := p.src.more(); {
	case err != nil:
		return err
	case more:
		return notV2(invalid("something follows the data part"))
	}
	return nil
}

// A walker reads the tar of a data part.
type walker struct {
	tar     tarReader
	fn      func(*Entry, io.Reader) error
	seen    map[string]Kind
	sum     hash.Hash
	stopped bool // by an error of fn
}

func (w *walker) walk() error {
	for {
		e, err := w.tar.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := w.entry(e); err != nil {
			return err
		}
	}
	if !w.tar.ended {
		return invalid("tar: it has no end")
	}
	return nil
}

// entry checks one entry and gives it to fn.
func (w *walker) entry(e *tarEntry) error {
	if e.Path == "" {
		return invalid("the root is listed")
	}
	if _, twice := w.seen[e.Path]; twice {
		return invalid("%s: it is there twice", clip(e.Path))
	}
	if len(w.seen) == maxEntries {
		return invalid("more than %d files", maxEntries)
	}
	if err := e.check(w.seen); err != nil {
		return err
	}
	w.seen[e.Path] = e.Kind
	w.sum.Reset()
	content := io.Reader(nothing{})
	if e.Kind == RegularFile {
		content = io.TeeReader(&w.tar, w.sum)
	}
	if err := w.fn(&e.Entry, content); err != nil {
		w.stopped = true
		return err
	}
	if _, err := io.Copy(io.Discard, content); err != nil {
		return err
	}
	return e.checkSHA1(w.sum)
}

// checkSHA1 holds the SHA-1 of the entry against its content or target.
func (e *tarEntry) checkSHA1(sum hash.Hash) error {
	if !e.hasSHA1 {
		return nil
	}
	var ok bool
	switch e.Kind {
	case RegularFile:
		ok = [sha1.Size]byte(sum.Sum(nil)) == e.SHA1
	case Symlink:
		// abuild hashes no more of a target than fits into a ustar header.
		short := e.Target[:min(len(e.Target), 100)]
		ok = sha1.Sum([]byte(e.Target)) == e.SHA1 || sha1.Sum([]byte(short)) == e.SHA1
	default:
		return nil
	}
	if !ok {
		return fault.New(fault.Denied, "%s: its checksum does not hold", clip(e.Path))
	}
	return nil
}

// nothing is the content of what is no regular file.
type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, io.EOF }

// limited refuses more than left bytes.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(int64(len(p)), l.left+1)])
	if l.left -= int64(n); l.left < 0 {
		return 0, invalid("too much when unpacked")
	}
	return n, err
}

// ReadV2 is OpenV2 for a caller that wants no more than the head of the package,
// for an index. It does not look at signatures.
func ReadV2(r io.Reader) (*V2Package, error) {
	p, err := OpenV2(r, nil)
	if err == nil {
		p.close()
	}
	return p, err
}
