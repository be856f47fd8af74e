package apk

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// A V2Spec says what to pack into a v2 package.
type V2Spec struct {
	Info    Info // InstalledSize is not looked at
	Scripts Scripts
	// Files are sorted before they are packed. Every folder must be listed.
	Files []File
	// Signers sign the package, all of them; none leaves it unsigned.
	Signers []Signer
	// Workers is how many goroutines compress, 0 for one per processor. It does
	// not change the outcome.
	Workers int
	// Spool holds the compressed files until their digest is known, which stands
	// before them in the package: an empty temporary file, or nil for memory.
	Spool io.ReadWriteSeeker
}

// A V2Packed describes a package that was written.
type V2Packed struct {
	Info          Info // with InstalledSize
	Identity      Identity
	ControlSHA256 [sha256.Size]byte // of the compressed control part
	DataSHA256    [sha256.Size]byte // of the compressed data part
	Size          int64             // bytes of the package
}

// WriteV2 packs and writes a package to w. The same spec always gives the same
// bytes of control and data part; only the signatures depend on the keys. What
// apk would refuse or misread (Info.Check, CheckEntries, Scripts.Check) is
// fault.Invalid, and so is a file whose content is not of the size that it was
// said to be.
func WriteV2(w io.Writer, spec *V2Spec) (*V2Packed, error) {
	control := V2Control{Info: spec.Info, Scripts: spec.Scripts}
	if err := control.check(); err != nil {
		return nil, err
	}
	if len(spec.Signers) > 0 {
		if err := checkSigners(spec.Signers); err != nil {
			return nil, err
		}
	}
	spool := spec.Spool
	if spool == nil {
		spool = new(memory)
	}
	data, err := WriteV2Data(spool, spec.Files, spec.Workers)
	if err != nil {
		return nil, fault.Within(err, "package %s", spec.Info.Name)
	}
	control.Data = *data
	part, info, err := control.Encode()
	if err != nil {
		return nil, err
	}
	var signatures []byte
	if len(spec.Signers) > 0 {
		if signatures, err = sign(part, spec.Signers); err != nil {
			return nil, err
		}
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	n, err := io.Copy(w, io.MultiReader(bytes.NewReader(signatures), bytes.NewReader(part), io.LimitReader(spool, data.Size)))
	if err != nil {
		return nil, err
	}
	if n != int64(len(signatures)+len(part))+data.Size {
		return nil, fault.New(fault.Internal, "package %s: the spool gives back less than was written to it", info.Name)
	}
	return &V2Packed{
		Info: info, Size: n, DataSHA256: data.SHA256,
		Identity: sha1.Sum(part), ControlSHA256: sha256.Sum256(part),
	}, nil
}

// memory is a spool in memory.
type memory struct{ bytes.Buffer }

func (m *memory) Seek(int64, int) (int64, error) { return 0, nil } // it is only read after it was written

// A V2Data describes a data part.
type V2Data struct {
	SHA256    [sha256.Size]byte // of the compressed part
	Size      int64             // bytes of the same
	Installed int64             // bytes of content of all files, hard links counted once
	Files     int               // number of files, folders and so on
}

// WriteV2Data writes the data part of a package to w, the files sorted by path.
// Its errors are those of WriteV2.
func WriteV2Data(w io.Writer, files []File, workers int) (*V2Data, error) {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	entries := make([]Entry, len(files))
	for i, f := range files {
		entries[i] = f.Entry
	}
	if err := CheckEntries(entries); err != nil {
		return nil, err
	}
	sum := sha256.New()
	counter := &counter{w: io.MultiWriter(w, sum)}
	p := packer{gz: newGzipWriter(counter, workers), sum: sha1.New()}
	err := p.pack(files)
	if end := p.gz.Close(); err == nil {
		err = end
	}
	if err != nil {
		return nil, err
	}
	return &V2Data{SHA256: [sha256.Size]byte(sum.Sum(nil)), Size: counter.n, Installed: p.installed, Files: p.files}, nil
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// maxInMemory is the size up to which a file is read into memory to hash it;
// larger ones are read twice.
const maxInMemory = 4 << 20

// A packer writes the tar of a data part.
type packer struct {
	gz        *gzipWriter
	sum       hash.Hash
	header    []byte
	content   []byte // of a small file
	buf       []byte
	installed int64
	files     int
}

// pack writes the files and the end of the tar.
func (p *packer) pack(files []File) error {
	for i := range files {
		f := &files[i]
		if f.Path == "" {
			continue // a v2 package does not list the root
		}
		p.files++
		if err := p.file(f); err != nil {
			return fault.Within(err, "%s", clip(f.Path))
		}
	}
	_, err := p.gz.Write(make([]byte, 2*tarBlock))
	return err
}

// file writes one file.
func (p *packer) file(f *File) error {
	e := f.Entry
	switch e.Kind {
	case Symlink:
		e.SHA1 = sha1.Sum([]byte(e.Target))
	case RegularFile:
		return p.regular(f, e)
	}
	p.header = appendHeader(p.header[:0], &e, true)
	_, err := p.gz.Write(p.header)
	return err
}

// regular writes a regular file with the SHA-1 of its content before it.
func (p *packer) regular(f *File, e Entry) error {
	p.installed += e.Size
	p.sum.Reset()
	small := e.Size <= maxInMemory
	if small {
		p.content = slices.Grow(p.content[:0], int(e.Size))
	}
	err := p.read(f, func(b []byte) error {
		if small {
			p.content = append(p.content, b...)
		}
		p.sum.Write(b)
		return nil
	})
	if err != nil {
		return err
	}
	e.SHA1 = [sha1.Size]byte(p.sum.Sum(nil))
	p.header = appendHeader(p.header[:0], &e, true)
	if _, err := p.gz.Write(p.header); err != nil {
		return err
	}
	if small {
		_, err = p.gz.Write(p.content)
	} else {
		err = p.again(f, e.SHA1)
	}
	if err == nil {
		_, err = p.gz.Write(make([]byte, -e.Size&(tarBlock-1)))
	}
	return err
}

// again writes the content of a file that was hashed before.
func (p *packer) again(f *File, want [sha1.Size]byte) error {
	p.sum.Reset()
	err := p.read(f, func(b []byte) error {
		p.sum.Write(b)
		_, err := p.gz.Write(b)
		return err
	})
	if err == nil && [sha1.Size]byte(p.sum.Sum(nil)) != want {
		err = fault.New(fault.Conflict, "its content changed while it was packed")
	}
	return err
}

// read gives fn the content of a file piece by piece and wants it to be of the
// size that it should have.
func (p *packer) read(f *File, fn func([]byte) error) error {
	if f.Open == nil {
		if f.Size > 0 {
			return fault.New(fault.Internal, "no content is given")
		}
		return nil
	}
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if p.buf == nil {
		p.buf = make([]byte, 128<<10)
	}
	for left := f.Size; ; {
		n, err := r.Read(p.buf)
		if left -= int64(n); left < 0 {
			return invalid("its content is longer than the %d bytes that it should have", f.Size)
		}
		if err2 := fn(p.buf[:n]); err2 != nil {
			return err2
		}
		switch {
		case err == io.EOF && left > 0:
			return invalid("its content is shorter than the %d bytes that it should have", f.Size)
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// A V2Control is what makes the control part of a package.
type V2Control struct {
	Info    Info // InstalledSize is not looked at
	Scripts Scripts
	Data    V2Data
}

// Encode returns the control part, one gzip member, and the Info that it holds,
// with InstalledSize: the content of all files or, since apk extracts nothing of
// a package of size 0, at least 1 where there are files or scripts. The errors
// are those of WriteV2.
func (c *V2Control) Encode() ([]byte, Info, error) {
	if err := c.check(); err != nil {
		return nil, Info{}, err
	}
	info := c.Info
	info.InstalledSize = c.Data.Installed
	if info.InstalledSize == 0 && (c.Data.Files > 0 || !c.Scripts.Empty()) {
		info.InstalledSize = 1
	}
	var tar []byte
	add := func(name string, mode uint32, b []byte) {
		e := Entry{Path: name, Mode: mode, User: "root", Group: "root", Size: int64(len(b)), ModTime: info.BuildTime}
		tar = appendHeader(tar, &e, false)
		tar = append(tar, b...)
		tar = append(tar, make([]byte, -len(b)&(tarBlock-1))...)
	}
	add(pkgInfo, 0o644, FormatPkgInfo(&info, c.Data.SHA256))
	for _, slot := range c.Scripts.slots() {
		if *slot.data != nil {
			add("."+slot.name, 0o755, *slot.data)
		}
	}
	return gzipMember(tar, 1), info, nil
}

// check checks what can be checked before the files are packed.
func (c *V2Control) check() error {
	if err := c.Info.Check(); err != nil {
		return err
	}
	if c.Info.Layer != 0 {
		return invalid("package %s: layer %d is not known to v2 packages", c.Info.Name, c.Info.Layer)
	}
	if c.Info.BuildTime > maxTarOctal {
		return invalid("package %s: its build time is out of range", c.Info.Name)
	}
	if err := c.Scripts.Check(c.Info.Triggers); err != nil {
		return fault.Within(err, "package %s", c.Info.Name)
	}
	return nil
}
