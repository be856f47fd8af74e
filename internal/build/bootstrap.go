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

// bootstrap returns the digest of the bootstrap layer for a set of packages.
func (r *Runner) bootstrap(ctx context.Context, packages []ashlar.RootPackage) (ashlar.Digest, error) {
	return r.layer(ctx, bootstrapVersion, packages, func(w io.Writer, files []opener) error {
		debs := make([]deb.Opener, len(files))
		for i, open := range files {
			debs[i] = func() (deb.Blob, error) { return open() }
		}
		return deb.WriteBootstrap(w, debs)
	})
}

// An opener opens the file of a package.
type opener func() (blob.Blob, error)

// layer returns the digest of the layer that write makes of packages. The store
// keeps it; a file in the memo folder, named for the packages and the version of
// what makes the layer, remembers it.
func (r *Runner) layer(ctx context.Context, version any, packages []ashlar.RootPackage, write func(io.Writer, []opener) error) (ashlar.Digest, error) {
	list := make([]ashlar.Digest, len(packages))
	files := make([]opener, len(packages))
	for i, p := range packages {
		list[i] = p.Digest
		files[i] = func() (blob.Blob, error) { return r.Store.Open(ctx, p.Digest) }
	}
	b, err := json.Marshal([]any{version, list})
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
	pipe, w := io.Pipe()
	go func() { w.CloseWithError(write(w, files)) }()
	f, err := r.Store.Put(ctx, pipe, "")
	if err != nil {
		pipe.CloseWithError(err)
		return "", err
	}
	if err := durable.MkdirAll(r.Memo, 0o755); err != nil {
		return "", err
	}
	return f.Digest, durable.WriteFile(memo, []byte(f.Digest), 0o644)
}
