package build

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"

	"github.com/moby/buildkit/client/llb"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// Root returns the state of a build root for an architecture: the bootstrap image with each layer
// installed on it by the real dpkg. It can be solved with Blobs.
//
// Essential packages need each other to be installed, so somebody outside has to
// begin: the bootstrap image is the files of the first layer's packages laid over
// one another, enough for dpkg to run in; it then installs them again, properly.
// The image is kept in the store and made once per set of packages.
func (r *Runner) Root(ctx context.Context, arch ashlar.Arch, root ashlar.Root) (llb.State, error) {
	if len(root.Layers) == 0 || len(root.Layers[0].Packages) == 0 {
		return llb.Scratch(), fault.New(fault.Invalid, "a build root needs a first layer of essential packages")
	}
	layer, err := r.bootstrap(ctx, root.Layers[0].Packages)
	if err != nil {
		return llb.Scratch(), err
	}
	state, err := engine.Image(ctx, r.Blobs(), arch, layer)
	if err != nil {
		return llb.Scratch(), err
	}
	for i, l := range root.Layers {
		if len(l.Packages) == 0 {
			continue
		}
		debs, err := r.debs(ctx, arch, l)
		if err != nil {
			return llb.Scratch(), err
		}
		state = installLayer(state, debs, l, i == 0)
	}
	return state, nil
}

// debs returns a folder with the packages of a layer.
func (r *Runner) debs(ctx context.Context, arch ashlar.Arch, l ashlar.Layer) (llb.State, error) {
	files := make([]ashlar.File, len(l.Packages))
	for i, p := range l.Packages {
		files[i] = ashlar.File{Name: debName(p), Digest: p.Digest}
	}
	return engine.Folder(ctx, r.Blobs(), arch, files)
}

// bootstrap returns the digest of the bootstrap layer for a set of packages. A
// file in the memo folder, named for the set, remembers it.
func (r *Runner) bootstrap(ctx context.Context, packages []ashlar.RootPackage) (ashlar.Digest, error) {
	list := make([]ashlar.Digest, len(packages))
	for i, p := range packages {
		list[i] = p.Digest
	}
	b, err := json.Marshal([]any{bootstrapVersion, list})
	if err != nil {
		return "", err // unreachable: digests always encode
	}
	memo := filepath.Join(r.Memo, ashlar.DigestOf(b).Hex())
	if known, err := os.ReadFile(memo); err == nil {
		d := ashlar.Digest(known)
		if _, err := r.Store.Stat(ctx, d); d.Validate() == nil && err == nil {
			return d, nil
		}
	}
	d, err := writeBootstrap(ctx, r.Store, list)
	if err != nil {
		return "", err
	}
	if err := durable.MkdirAll(r.Memo, 0o755); err != nil {
		return "", err
	}
	return d, durable.WriteFile(memo, []byte(d), 0o644)
}

// writeBootstrap stores the layer made of the .debs and returns its digest.
func writeBootstrap(ctx context.Context, store blob.Store, list []ashlar.Digest) (ashlar.Digest, error) {
	var files []deb.Opener
	for _, d := range list {
		files = append(files, func() (deb.Blob, error) { return store.Open(ctx, d) })
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(deb.WriteBootstrap(w, files)) }()
	f, err := store.Put(ctx, r, "")
	if err != nil {
		r.CloseWithError(err)
		return "", err
	}
	return f.Digest, nil
}
