package archive

import (
	"context"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/pgp"
)

// ReadDsc parses a .dsc in the store. It does not verify the signature; AnchorDsc
// does.
func ReadDsc(ctx context.Context, s blob.Store, dsc ashlar.Material) (*deb.SourcePackage, error) {
	b, err := blob.ReadAll(ctx, s, dsc.Digest, maxDsc)
	if err != nil {
		return nil, err
	}
	text, _, err := pgp.Unwrap(b)
	if err != nil {
		return nil, fault.New(fault.Invalid, "%w", err).At(dsc.URI, 0).Fix("use the .dsc as the archive has it")
	}
	pkg, err := deb.ParseDsc(text)
	if err != nil {
		return nil, fault.New(fault.Invalid, "%w", err).At(dsc.URI, 0).Fix("use the .dsc as the archive has it")
	}
	return pkg, nil
}

// CheckDsc parses a .dsc in the store and checks that every file that it lists is
// among the files, with its size and SHA-256. Other files are passed over: a
// build may have more beside its source. The error is fault.Invalid.
func CheckDsc(ctx context.Context, s blob.Store, dsc ashlar.Material, files []ashlar.Material) (*deb.SourcePackage, error) {
	pkg, err := ReadDsc(ctx, s, dsc)
	if err != nil {
		return nil, err
	}
	have := map[string]ashlar.Material{}
	for _, f := range files {
		have[f.Name] = f
	}
	for _, want := range pkg.Files {
		got, ok := have[want.Name]
		if !ok {
			return nil, fault.New(fault.Invalid, "it lists %s, which is not among the files", want.Name).At(dsc.URI, 0).
				Fix("add it to the files of the definition with the digest %s", want.Digest)
		}
		size := got.Size
		if size == 0 {
			if size, err = s.Stat(ctx, got.Digest); err != nil {
				return nil, err
			}
		}
		if got.Digest != want.Digest || size != want.Size {
			return nil, fault.New(fault.Invalid, "it lists %s with %s and %d bytes; %s has %s and %d bytes", want.Name, want.Digest, want.Size, got.URI, got.Digest, size).
				At(dsc.URI, 0).Fix("take the .dsc and its files from the same version")
		}
	}
	return pkg, nil
}
