package work

import (
	"context"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/apkrepo"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// SignAPK has packages for apk, of either generation, signed and returns the signed
// files, in the same order and under the names that they are published by. The
// content of both is in the store.
//
// It is to be called once after a compile and the gate, and before anything is
// stated: a build makes packages without signatures, since no key enters it, and
// users get, and statements are about, the signed files. The signer is another
// process; it reads each package as a whole, checks it, and sees nothing of the
// build. The same package always gives the same file as long as the keys stay,
// whatever signatures it had, so a build that is signed again changes nothing.
func (s *Shop) SignAPK(ctx context.Context, files []ashlar.File) ([]ashlar.File, error) {
	k, err := s.keys(ctx)
	if err != nil {
		return nil, err
	}
	asked := make([]ashlar.File, len(files))
	for i, f := range files {
		asked[i] = ashlar.File{Name: path.Join("blobs", "sha256", f.Digest.Hex()), Digest: f.Digest, Size: f.Size}
	}
	sigs, err := k.SignAPKPackages(ctx, s.Dir, asked)
	if err != nil {
		return nil, err
	}
	signed := make([]ashlar.File, len(files))
	for i, f := range files {
		if signed[i], err = s.attach(ctx, f, &sigs[i]); err != nil {
			return nil, fault.Within(err, "%s", f.Name)
		}
	}
	return signed, nil
}

// signResult returns a result with its packages for apk signed, under the names that
// they are published by. They were judged before: nothing else may be signed.
func (s *Shop) signResult(ctx context.Context, res *ashlar.Result) (*ashlar.Result, error) {
	signed := *res
	signed.Files = nil
	var apks []ashlar.File
	for _, f := range res.Files {
		if path.Ext(f.Name) == ".apk" {
			apks = append(apks, f)
		} else {
			signed.Files = append(signed.Files, f)
		}
	}
	if len(apks) == 0 {
		return res, nil
	}
	files, err := s.SignAPK(ctx, apks)
	if err != nil {
		return nil, err
	}
	for i, f := range files {
		signed.Files = append(signed.Files, f)
		signed.Unsigned = append(signed.Unsigned, ashlar.File{Name: f.Name, Digest: apks[i].Digest, Size: apks[i].Size})
	}
	for _, list := range [][]ashlar.File{signed.Files, signed.Unsigned} {
		slices.SortFunc(list, func(a, b ashlar.File) int { return strings.Compare(a.Name, b.Name) })
	}
	return &signed, nil
}

// attach puts a package with its signatures into the store.
func (s *Shop) attach(ctx context.Context, f ashlar.File, sigs *apk.PackageSignatures) (ashlar.File, error) {
	content, err := s.Store.Open(ctx, f.Digest)
	if err != nil {
		return ashlar.File{}, err
	}
	defer content.Close()
	r, w := io.Pipe()
	go func() { w.CloseWithError(sigs.Attach(w, content, content.Size())) }()
	signed, err := s.Store.Put(ctx, r, "")
	r.CloseWithError(err)
	if err != nil {
		return ashlar.File{}, err
	}
	signed.Name, err = apkName(io.NewSectionReader(content, 0, content.Size()), f.Name)
	return signed, err
}

// apkName returns the name by which a package is published.
func apkName(r *io.SectionReader, name string) (string, error) {
	head := make([]byte, 4)
	if _, err := r.ReadAt(head, 0); err != nil {
		return "", err
	}
	if !apk.IsV3(head) {
		return name, nil
	}
	p, err := apk.ReadV3(r, apk.V3Unchecked())
	if err != nil {
		return "", err
	}
	e := p.IndexEntry(r.Size())
	return apkrepo.FileNameV3(&e)
}

// PublishAPK publishes source sets of signed packages for apk, and the keys that
// clients need for them.
func (s *Shop) PublishAPK(ctx context.Context, to apkrepo.Target, sets []apkrepo.SourceSet) (*apkrepo.Published, error) {
	r, err := s.APKRepo()
	if err != nil {
		return nil, err
	}
	if err := s.PublishKeys(ctx); err != nil {
		return nil, err
	}
	end := s.stage(to.String(), "publish")
	p, err := r.Publish(ctx, to, sets, s.Now())
	if err != nil {
		end("", false, err)
		return nil, err
	}
	end("snapshot "+p.Snapshot, len(p.Changed) == 0, nil)
	return p, nil
}
