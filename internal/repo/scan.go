package repo

import (
	"archive/tar"
	"context"
	"crypto/md5" // the format identifies descriptions by it; nothing is trusted because of it
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

// Bounds on what one binary package may put into an index.
const (
	maxPlaces   = 1 << 20
	maxPathSize = 4096
)

// A binaryPackage is what the indexes say of one binary package.
type binaryPackage struct {
	pkg         *deb.Package
	udeb        bool    // for the installer: an index of its own
	stanza      entry   // of Packages
	translation entry   // of Translation-en; no body for a udeb
	places      []place // of Contents; none for a udeb
}

// translationKey identifies a long description.
func translationKey(e entry) string { return string(e.name) + " " + string(e.field("Description-md5")) }

// scanDeb reads what the indexes need out of a .deb or .udeb that will lie in
// the pool's folder dir.
func scanDeb(ctx context.Context, blobs shelf.Blobs, f ashlar.File, dir string) (*binaryPackage, error) {
	content, err := shelf.OpenVerified(ctx, blobs, f)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	return scan(content, f, dir, true)
}

// scan reads what the indexes need; the lists of files only if listed is true.
func scan(content blob.Blob, f ashlar.File, dir string, listed bool) (*binaryPackage, error) {
	file, err := deb.Open(content, content.Size())
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "%w", err).At(f.Name, 0)
	}
	pkg, err := deb.ParsePackage(file.Control)
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "%w", err).At(f.Name, 0)
	}
	b := &binaryPackage{pkg: pkg, udeb: path.Ext(f.Name) == ".udeb"}
	b.describe(file.Control, f, dir)
	if b.udeb || !listed {
		return b, nil
	}
	if err := b.list(file); err != nil {
		return nil, fault.New(fault.KindOf(err), "%w", err).At(f.Name, 0)
	}
	return b, nil
}

// readBack are the fields of an index that merge reads, by their exact names.
var readBack = []string{"Package", "Source", "Version", "Architecture"}

// fieldName returns the name of a field of a control file, which may be written
// in any case, as merge wants it.
func fieldName(name string) string {
	for _, known := range readBack {
		if strings.EqualFold(name, known) {
			return known
		}
	}
	return name
}

// describe makes the stanza for Packages and that for Translation-en.
func (b *binaryPackage) describe(control deb.Paragraph, f ashlar.File, dir string) {
	stanza := deb.Paragraph{Fields: append([]deb.Field{}, control.Fields...)}
	for i, f := range stanza.Fields {
		stanza.Fields[i].Name = fieldName(f.Name)
	}
	for _, own := range []string{"Filename", "Size", "MD5sum", "SHA1", "SHA256", "SHA512", "Description-md5", "Status"} {
		stanza.Delete(own) // a package does not say these of itself
	}
	b.translation.name = []byte(b.pkg.Name)
	if full := control.Get("Description"); !b.udeb && full != "" {
		short, _, _ := strings.Cut(full, "\n")
		stanza.Set("Description", short)
		sum := md5.Sum([]byte(full + "\n"))
		id := hex.EncodeToString(sum[:])
		stanza.Set("Description-md5", id)
		b.translation.body = fmt.Appendf(nil, "Package: %s\nDescription-md5: %s\nDescription-en: %s\n\n", b.pkg.Name, id, full)
	}
	stanza.Set("Filename", path.Join(dir, f.Name))
	stanza.Set("Size", strconv.FormatInt(f.Size, 10))
	stanza.Set("SHA256", f.Digest.Hex())
	b.stanza = entry{name: []byte(b.pkg.Name), body: append(stanza.AppendTo(nil), '\n')}
}

// list collects the files of the package for Contents. A path that the format
// of Contents cannot hold is left out.
func (b *binaryPackage) list(file *deb.File) error {
	owner := b.pkg.Name
	if b.pkg.Section != "" {
		owner = b.pkg.Section + "/" + owner
	}
	if strings.ContainsAny(owner, " ,\t\n") {
		return fault.New(fault.Invalid, "%q is not a section", b.pkg.Section)
	}
	return file.Walk(func(h *tar.Header, _ io.Reader) error {
		name := strings.TrimPrefix(strings.TrimPrefix(h.Name, "."), "/")
		if h.Typeflag == tar.TypeDir || name == "" || len(name) > maxPathSize ||
			strings.ContainsAny(name, "\n\x00") || strings.HasSuffix(name, " ") {
			return nil
		}
		if len(b.places) == maxPlaces {
			return fault.New(fault.Invalid, "more than %d files in one package", maxPlaces)
		}
		b.places = append(b.places, place{name, owner})
		return nil
	})
}
