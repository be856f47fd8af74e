package apk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"

	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A V3Package is a package of the third generation: a file that describes it as
// a whole, signatures over that (which may be missing), and contents of files.
type V3Package struct {
	Info    Info // without Packager, which v3 does not have
	Scripts Scripts
	// Entries are the files in the order of v3: each folder, and then the files in
	// it. Regular files and hard links have their SHA256, folders have no ModTime.
	Entries []Entry

	Signatures []adb.Signature
	Hash       [sha256.Size]byte // of what describes the package, by which an index names it
	ID         []byte            // the unique id that the package gives itself, 20 bytes as a rule

	f *adb.File
}

// OpenV3 reads what describes a package from r, if it is to be trusted. Errors of
// form are fault.Invalid, an error of r comes back as it is. The package reads
// from r when Walk is called.
func OpenV3(r io.Reader, trust V3Trust) (*V3Package, error) {
	f, err := openV3(r, v3SchemaPackage, adb.Limits{Payload: maxV3Package, Total: maxV3Data}, trust)
	if err != nil {
		return nil, err
	}
	p := &V3Package{Signatures: f.Signatures, Hash: sha256.Sum256(f.Payload), f: f}
	d := adb.NewDecoder(f.Payload)
	err = p.read(d.Root())
	if d.Err() != nil {
		err = d.Err() // what came after it is a consequence
	}
	if err != nil {
		p.close()
		return nil, inV3(err)
	}
	return p, nil
}

// ReadV3 is OpenV3 for a caller that wants no more than the description of the
// package, for an index.
func ReadV3(r io.Reader, trust V3Trust) (*V3Package, error) {
	p, err := OpenV3(r, trust)
	if err == nil {
		p.close()
	}
	return p, err
}

// close gives back what reading needs.
func (p *V3Package) close() {
	if p.f != nil {
		p.f.Close()
		p.f = nil
	}
}

// read reads all parts of the description.
func (p *V3Package) read(root adb.Object) (err error) {
	info := root.Object(v3PackageInfo)
	if p.Info, err = readV3Info(info); err != nil {
		return err
	}
	p.ID = bytes.Clone(info.Bytes(v3Hashes))
	p.Info.Triggers = readV3Strings(root.Object(v3PackageTriggers))
	if p.Info.ReplacesPriority, err = v3Int(root, v3PackageReplacesPriority); err != nil {
		return err
	}
	scripts := root.Object(v3PackageScripts)
	for i, to := range v3ScriptsBySlot(&p.Scripts) {
		if script := scripts.Bytes(i + 1); len(script) > maxScript {
			return invalid("a script of more than %d bytes", maxScript)
		} else if len(script) > 0 {
			*to = bytes.Clone(script)
		}
	}
	p.Entries, err = readV3Paths(root.Object(v3PackagePaths))
	return err
}

// Walk calls fn for every file in the order of Entries, with the content of a
// regular file. It can be called once. The end of a content is given out only if
// its digest holds, else reading it ends with a fault.Denied error; until then
// nothing that was read may be trusted. What fn does not read is checked too.
// Errors of form are fault.Invalid, and an error of fn is returned as it is.
func (p *V3Package) Walk(fn func(*Entry, io.Reader) error) error {
	if p.f == nil {
		return fault.New(fault.Internal, "the package %s is read twice", clip(p.Info.Name))
	}
	defer p.close()
	dir, file := uint32(0), uint32(0)
	for i := range p.Entries {
		e := &p.Entries[i]
		if file++; e.Kind == Directory {
			dir, file = dir+1, 0
		}
		content, err := p.content(e, dir, file)
		if err != nil {
			return inV3(fault.Within(err, "%s", clip(e.Path)))
		}
		if err := fn(e, content); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return err
		}
	}
	switch _, err := p.f.Next(); {
	case err == io.EOF:
		return nil
	case err != nil:
		return inV3(err)
	}
	return inV3(invalid("data that belongs to no file"))
}

// content returns the content of a file. That of a regular file that is not
// empty must come next.
func (p *V3Package) content(e *Entry, dir, file uint32) (io.Reader, error) {
	if e.Kind != RegularFile {
		return nothing{}, nil
	}
	c := &v3Content{e: e, r: nothing{}, sum: sha256.New()}
	if e.Size == 0 {
		return c, nil
	}
	data, err := p.f.Next()
	switch {
	case err == io.EOF:
		return nil, invalid("its data is missing").Fix("fetch the file again")
	case err != nil:
		return nil, err
	}
	var head [8]byte
	if data.Size-int64(len(head)) != e.Size {
		return nil, invalid("there is data of %d bytes for a file of %d", data.Size-int64(len(head)), e.Size)
	}
	if _, err := io.ReadFull(data, head[:]); err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(head[:]) != dir || binary.LittleEndian.Uint32(head[4:]) != file {
		return nil, invalid("the data in its place is that of another file")
	}
	c.r = data
	return c, nil
}

// A v3Content reads the content of a regular file and checks its digest at the
// end.
type v3Content struct {
	e   *Entry
	r   io.Reader
	sum hash.Hash // of what was read
	err error
}

func (c *v3Content) Read(b []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.Read(b)
	c.sum.Write(b[:n])
	switch {
	case err == nil:
	case err != io.EOF:
		c.err = inV3(fault.Within(err, "%s", clip(c.e.Path)))
	case [sha256.Size]byte(c.sum.Sum(nil)) != c.e.SHA256:
		c.err = inV3(fault.New(fault.Denied, "%s: its SHA-256 does not hold", clip(c.e.Path)).Fix("the file was changed; fetch it again"))
	default:
		c.err = io.EOF
	}
	return n, c.err
}
