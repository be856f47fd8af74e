package deb

import (
	"archive/tar"
	"io"

	"github.com/ashlar-project/ashlar/internal/compress"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// maxSourceTar bounds a source archive, in bytes unpacked.
const maxSourceTar = 16 << 30

// ExtractFile returns the content of one regular file of a tar archive whose
// compression the suffix of name tells, such as "debian/patches/x.patch" of a
// .debian.tar.xz. It reads to the end, so that a file that is there twice is
// refused rather than chosen between. Errors are fault.NotFound if the file is
// not there, and fault.Invalid if the archive is malformed or the file larger
// than max bytes.
func ExtractFile(name string, r io.Reader, want string, max int64) ([]byte, error) {
	target, ok := cleanPath(want)
	if !ok || target == "." {
		return nil, fault.New(fault.Invalid, "%q is not a path inside an archive", clip(want))
	}
	plain, err := compress.NewReader(name, r, maxSourceTar)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	t := tar.NewReader(plain)
	var found []byte
	for n := 0; ; n++ {
		h, err := t.Next()
		switch {
		case err == io.EOF && found == nil:
			return nil, fault.New(fault.NotFound, "there is no file %s in it", target).At(name, 0)
		case err == io.EOF:
			return found, nil
		case err != nil:
			return nil, tarError(name, err)
		case n == maxEntries:
			return nil, fault.New(fault.Invalid, "the archive has more than %d entries", maxEntries).At(name, 0)
		}
		if path, ok := cleanPath(h.Name); !ok || path != target {
			continue
		}
		if found != nil {
			return nil, fault.New(fault.Invalid, "the file %s is there twice", target).At(name, 0)
		}
		if found, err = extractEntry(name, target, h, t, max); err != nil {
			return nil, err
		}
	}
}

// extractEntry reads the entry that was looked for.
func extractEntry(name, target string, h *tar.Header, t *tar.Reader, max int64) ([]byte, error) {
	switch {
	case h.Typeflag != tar.TypeReg:
		return nil, fault.New(fault.Invalid, "%s is not a regular file", target).At(name, 0)
	case h.Size > max:
		return nil, fault.New(fault.Invalid, "%s has %d bytes, at most %d are allowed", target, h.Size, max).At(name, 0)
	}
	content, err := io.ReadAll(t)
	if err != nil {
		return nil, tarError(name, err)
	}
	return content, nil
}
