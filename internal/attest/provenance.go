package attest

import (
	"encoding/json"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
	"github.com/ashlar-project/ashlar/internal/sbom"
)

// ExternalParameters are what a user of the builder chose. Verifiers refuse
// parameters that they do not know.
type ExternalParameters struct {
	Definition DefinitionParameter `json:"definition"`
	Vars       map[string]string   `json:"vars,omitempty"` // as expanded
	Target     ashlar.Target       `json:"target"`
}

// A DefinitionParameter is the definition, whole.
type DefinitionParameter struct {
	Path    string        `json:"path"`
	Digest  ashlar.Digest `json:"digest"`
	Content string        `json:"content"`
	Catalog Catalog       `json:"catalog"`
}

// InternalParameters are what the builder worked out. With the definition, they
// are enough to build again. The signer has read every file that the lock names, has
// checked the lock against definition and indexes, and has worked out Plan, Steps and
// Network itself; how long a step took, Engine and Tests are the builder's word.
type InternalParameters struct {
	Lock    *ashlar.Lock        `json:"lock"`
	Plan    ashlar.Digest       `json:"plan"`   // the build key
	Engine  string              `json:"engine"` // name and version of the executor
	Steps   []ashlar.StepResult `json:"steps"`
	Network []string            `json:"network"` // the steps that could reach the network
	Tests   ashlar.TestResult   `json:"tests"`
}

// What annotations of dependencies say.
const (
	noteRole   = "role"
	noteAnchor = "anchor"
	noteBy     = "anchoredBy"
	noteSigner = "signers"
	noteFrom   = "takenFrom"
	notePURL   = "purl"
	noteTrust  = "trust"

	trustBinary  = "built by the distribution, not rebuilt here: the chain to its source leaves our hands"
	trustNobody  = "nobody vouches for this source"
	trustUnread  = "named by the gate; the signer did not have it to read"
	roleSource   = "source"
	roleRoot     = "build root"
	roleIndex    = "index"
	roleCatalog  = "catalog"
	roleProgram  = "engine"
	roleGiven    = "definition"
	rolePart     = "included by the definition"
	roleFrom     = "holds a patch"
	roleFetched  = "fetched"
	roleUnsigned = "package before it was signed"
)

// provenance is the same for every file of the source set.
func (e *Evidence) provenance() (*intoto.Provenance, error) {
	external, err := json.Marshal(ExternalParameters{
		Definition: DefinitionParameter{
			Path: e.Definition.Path, Digest: e.definition().Digest,
			Content: string(e.Definition.Content), Catalog: e.Definition.Catalog,
		},
		Vars:   e.Lock.Inputs.Vars,
		Target: e.Lock.Inputs.Target,
	})
	if err != nil {
		return nil, fault.New(fault.Internal, "encode the parameters: %w", err)
	}
	internal, err := json.Marshal(InternalParameters{
		Lock: e.Lock, Plan: e.Result.Key, Engine: e.Result.Engine, Steps: e.Result.Steps,
		Network: e.networkSteps(), Tests: e.Result.Tests,
	})
	if err != nil {
		return nil, fault.New(fault.Internal, "encode the parameters: %w", err)
	}
	return &intoto.Provenance{
		BuildDefinition: intoto.BuildDefinition{
			BuildType: e.buildType(), ExternalParameters: external, InternalParameters: internal,
			ResolvedDependencies: e.dependencies(),
		},
		RunDetails: e.runDetails(),
	}, nil
}

// networkSteps names the steps that could reach the network, [] if none.
func (e *Evidence) networkSteps() []string {
	names := []string{}
	for _, s := range e.Result.Steps {
		if s.Network {
			names = append(names, s.Build+": "+s.Name)
		}
	}
	return names
}

func (e *Evidence) runDetails() intoto.RunDetails {
	started, finished := e.Result.Started.UTC(), e.Result.Finished.UTC()
	run := intoto.RunDetails{
		Builder: intoto.Builder{ID: e.Builder.ID},
		Metadata: intoto.BuildMetadata{
			InvocationID: e.Invocation, StartedOn: &started, FinishedOn: &finished,
		},
	}
	if e.Builder.Version != "" {
		run.Builder.Version = map[string]string{"ashlar": e.Builder.Version}
	}
	if e.Builder.Program.Digest != "" {
		run.Builder.BuilderDependencies = []intoto.Descriptor{describe(e.Builder.Program)}
	}
	if e.Result.Log.Digest != "" {
		run.Byproducts = append(run.Byproducts, describe(e.Result.Log))
	}
	for _, f := range e.Result.Files {
		if strings.HasSuffix(f.Name, ".buildinfo") || strings.HasSuffix(f.Name, ".changes") {
			run.Byproducts = append(run.Byproducts, describe(f))
		}
	}
	for _, f := range e.Result.Unsigned {
		d := describe(f)
		d.Annotations = map[string]any{noteRole: roleUnsigned}
		run.Byproducts = append(run.Byproducts, d)
	}
	return run
}

func describe(f ashlar.File) intoto.Descriptor {
	return intoto.Descriptor{Name: f.Name, Digest: intoto.SHA256(f.Digest)}
}

// dependencies are everything that went into the build, each with a digest and
// an alias, none with the address of a mirror.
func (e *Evidence) dependencies() []intoto.Descriptor {
	d := &dependencies{seen: map[string]bool{}, distro: e.rootDistro}
	d.material(e.definition(), roleGiven, nil)
	for _, m := range e.Lock.Inputs.Includes {
		d.material(m, rolePart, nil)
	}
	if c := e.Definition.Catalog; c.Commit != "" {
		notes := map[string]any{noteRole: roleCatalog}
		if c.Dirty {
			notes[noteTrust] = "there were changes that are not in this commit"
		}
		d.all = append(d.all, intoto.Descriptor{
			Name: "catalog", URI: c.URI, Digest: map[string]string{"gitCommit": c.Commit}, Annotations: notes,
		})
	}
	for _, b := range e.Lock.Inputs.Builds {
		for _, s := range b.Sources {
			d.source(s)
		}
	}
	for _, x := range e.Lock.Inputs.Indexes {
		d.material(ashlar.Material{Name: "index", URI: x.URI, Digest: x.Digest}, roleIndex, map[string]any{noteSigner: x.Signers})
	}
	for _, b := range e.Lock.Inputs.Builds {
		for _, p := range b.Root.Packages() {
			d.rootPackage(p)
		}
	}
	for _, b := range e.Lock.Inputs.Builds {
		if b.Root.Sysroot == nil {
			continue
		}
		for _, p := range b.Root.Sysroot.Packages {
			d.ownPackage(p, e.Lock.Inputs.Target.Distro)
		}
	}
	for _, f := range e.Lock.Fetched {
		d.material(ashlar.Material{Name: f.Name, URI: "fetched:" + f.Key.Hex(), Digest: f.Digest}, roleFetched, nil)
	}
	if p := e.Builder.Program; p.Digest != "" {
		d.material(ashlar.Material{Name: p.Name, URI: "pkg:golang/github.com/ashlar-project/ashlar", Digest: p.Digest}, roleProgram,
			map[string]any{"executor": e.Result.Engine})
	}
	return d.all
}

// notesOn says of an index of the gate that could not be read that it was not; nil otherwise.
func (e *Evidence) notesOn(index ashlar.Digest) map[string]any {
	if e.unread[index] {
		return map[string]any{noteTrust: trustUnread}
	}
	return nil
}

// dependencies collects descriptors, each URI and digest once.
type dependencies struct {
	all    []intoto.Descriptor
	seen   map[string]bool
	distro ashlar.Distro
}

func (d *dependencies) material(m ashlar.Material, role string, notes map[string]any) {
	key := m.URI + " " + string(m.Digest)
	if d.seen[key] {
		return
	}
	d.seen[key] = true
	if notes == nil {
		notes = map[string]any{}
	}
	notes[noteRole] = role
	d.all = append(d.all, intoto.Descriptor{Name: m.Name, URI: m.URI, Digest: intoto.SHA256(m.Digest), Annotations: notes})
}

func (d *dependencies) source(s ashlar.Source) {
	notes := map[string]any{noteAnchor: string(s.Anchor.Kind)}
	if s.Anchor.By != "" {
		notes[noteBy] = s.Anchor.By
	}
	if len(s.Anchor.Signers) > 0 {
		notes[noteSigner] = s.Anchor.Signers
	}
	if s.Anchor.Kind == ashlar.Unauthenticated {
		notes[noteTrust] = trustNobody
	}
	var from []string
	for _, f := range s.From {
		from = append(from, f.URI)
	}
	if len(from) > 0 {
		notes[noteFrom] = from
	}
	d.material(s.Material, roleSource, notes)
	for _, f := range s.From {
		d.material(f, roleFrom, nil)
	}
}

// buildType returns the type of the build, by what came of it.
func (e *Evidence) buildType() string {
	if len(e.Result.Debs()) > 0 {
		return BuildTypeDeb
	}
	return BuildTypeApk
}

func (d *dependencies) rootPackage(p ashlar.RootPackage) {
	d.material(ashlar.Material{Name: p.Name, URI: p.URI, Digest: p.Digest}, roleRoot, map[string]any{
		notePURL:  purl(sbom.VendorDebian, p.Name, p.Version, p.Arch, d.distro),
		noteTrust: trustBinary,
	})
}

// ownPackage is one that this factory built, with statements of its own.
func (d *dependencies) ownPackage(p ashlar.RootPackage, distro ashlar.Distro) {
	d.material(ashlar.Material{Name: p.Name, URI: p.URI, Digest: p.Digest}, roleRoot, map[string]any{
		notePURL: sbom.ApkPURL(sbom.VendorAshlar, p.Name, p.Version, p.Arch.Alpine(), string(distro)),
	})
}
