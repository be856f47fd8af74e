package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path"

	"github.com/moby/buildkit/client/llb"
	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// storeID names the client's blob store within the session, and repository is
// the name that its contents go by. Together they are the only source that a
// solve may use.
const (
	storeID    = "ashlar"
	repository = "ashlar.invalid/blobs"

	layoutPrefix = "oci-layout://" + repository + "@sha256:"
	blobPrefix   = "oci-layout+blob://" + repository + "@sha256:"
)

// MaxLayers is the most layers that Image takes.
const MaxLayers = 127

// A BlobFile says how a blob appears in a state that holds it alone.
type BlobFile struct {
	Name     string // base name
	Digest   ashlar.Digest
	Mode     os.FileMode // permission bits, 0 for 0644
	UID, GID int
}

// Blob returns a state with one file in it: /name, with mode 0644 and the content
// that the request's blob store has for d.
func Blob(name string, d ashlar.Digest) llb.State {
	return BlobFile{Name: name, Digest: d}.State()
}

// BlobMount returns a read-only mount of one blob as the file at path.
func BlobMount(at string, d ashlar.Digest) Mount {
	name := path.Base(at)
	return Mount{Path: at, State: Blob(name, d), Source: "/" + name, ReadOnly: true}
}

// State returns a state with the file in it and nothing else.
func (f BlobFile) State() llb.State {
	mode := f.Mode.Perm()
	if mode == 0 {
		mode = 0o644
	}
	return llb.OCILayoutBlob(reference(f.Digest), llb.Filename(f.Name), llb.Chmod(mode), llb.Chown(f.UID, f.GID),
		llb.ImageBlobOCIStore("", storeID), llb.WithCustomName("take "+f.Name))
}

func reference(d ashlar.Digest) string { return repository + "@" + string(d) }

// Image returns a root for an architecture made of layers, lowest first: plain (uncompressed) tar
// archives that are in the store. It puts the small OCI files that describe the
// root into the store; the same layers give the same ones. The error is
// fault.NotFound for a layer that is not there.
func Image(ctx context.Context, store blob.Store, arch ashlar.Arch, layers ...ashlar.Digest) (llb.State, error) {
	if len(layers) == 0 || len(layers) > MaxLayers {
		return llb.State{}, fault.New(fault.Invalid, "a root has between 1 and %d layers, not %d", MaxLayers, len(layers))
	}
	config := ocispecs.Image{
		Platform: platform(arch),
		RootFS:   ocispecs.RootFS{Type: "layers"},
	}
	manifest := ocispecs.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest}
	for _, d := range layers {
		size, err := store.Stat(ctx, d)
		if err != nil {
			return llb.State{}, err
		}
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.Digest(d))
		manifest.Layers = append(manifest.Layers, ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageLayer, Digest: digest.Digest(d), Size: size})
	}
	f, err := putJSON(ctx, store, config)
	if err != nil {
		return llb.State{}, err
	}
	manifest.Config = ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageConfig, Digest: digest.Digest(f.Digest), Size: f.Size}
	if f, err = putJSON(ctx, store, manifest); err != nil {
		return llb.State{}, err
	}
	return llb.OCILayout(reference(f.Digest), llb.OCIStore("", storeID), llb.WithCustomName("take root "+f.Digest.Short())), nil
}

// Folder returns a state with the given blobs as files of mode 0644, which the
// engine takes in one piece: many blobs one by one cost a snapshot and several
// flushes to the disk each. Folders on the way to a file are made. It is for steps
// of an architecture.
func Folder(ctx context.Context, store *blob.Scratch, arch ashlar.Arch, files []ashlar.File) (llb.State, error) {
	archive, err := store.Tar(ctx, files)
	if err != nil {
		return llb.State{}, err
	}
	return Image(ctx, store, arch, archive.Digest)
}

func putJSON(ctx context.Context, store blob.Store, v any) (ashlar.File, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return ashlar.File{}, err
	}
	return store.Put(ctx, bytes.NewReader(b), ashlar.DigestOf(b))
}
