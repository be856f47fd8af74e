package work

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/attest"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/build"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/gate"
	"github.com/ashlar-project/ashlar/internal/intoto"
	"github.com/ashlar-project/ashlar/internal/sign"
	"github.com/ashlar-project/ashlar/internal/source"
)

// Build returns the record of a definition built, judged and attested, and
// whether it was known already. A record whose gate refused comes with an error
// of kind fault.Policy.
func (s *Shop) Build(ctx context.Context, ref Ref, opts BuildOptions) (*Record, bool, error) {
	if err := s.able(ctx, ref, opts.arch()); err != nil {
		return nil, false, err
	}
	p, err := s.Plan(ctx, ref, opts)
	if err != nil {
		return nil, false, err
	}
	key := p.Plan.Key()
	if !opts.Fresh {
		if r, err := s.load(key); err == nil && r.Verdict.Passed && r.tells(p.Lock) && s.signed(r) {
			s.report(Event{Subject: ref.File(), Stage: "build", State: Cached})
			return r, true, s.setLatest(ref, p.Lock.Inputs.Target.Arch, key)
		}
	}
	if _, err := s.keys(ctx); err != nil { // before an hour of compiling, not after
		return nil, false, err
	}
	r := &Record{Lock: p.Lock}
	if r.Definition, err = s.definition(ctx, p.Lock); err != nil {
		return nil, false, err
	}
	if r.Result, err = s.compiled(ctx, ref, p, opts); err != nil {
		return nil, false, err
	}
	if r.Verdict, err = s.judge(ctx, ref, p, r.Result); err != nil {
		return nil, false, err
	}
	refused := gate.Failure(r.Verdict)
	if refused == nil {
		if r.Result, err = s.signResult(ctx, r.Result); err != nil {
			return nil, false, err
		}
		if r.Bundles, err = s.attest(ctx, ref, r); err != nil {
			return nil, false, err
		}
	}
	if err := s.save(r); err != nil {
		return nil, false, err
	}
	if refused != nil {
		return r, false, refused
	}
	return r, false, s.setLatest(ref, p.Lock.Inputs.Target.Arch, key)
}

// able refuses an architecture that the engine does not run, before anything is
// fetched. What was built already needs no engine.
func (s *Shop) able(ctx context.Context, ref Ref, arch ashlar.Arch) error {
	if arch == engine.Native {
		return nil
	}
	if _, err := expand(ref, arch); err != nil {
		return err
	}
	if _, err := s.Latest(ref, arch); err == nil {
		return nil
	}
	_, err := s.runner(ctx, ref.File(), "build", arch, build.Variation{})
	return err
}

// tells reports whether what the record says of its sources is what a lock says.
// The build key leaves out what no step sees, comments and who vouches for a
// source; what is attested does not.
func (r *Record) tells(lock *ashlar.Lock) bool {
	was, is := &r.Lock.Inputs, &lock.Inputs
	return was.Definition == is.Definition && slices.Equal(was.Includes, is.Includes) && slices.EqualFunc(was.Builds, is.Builds, func(a, b ashlar.BuildInputs) bool {
		return reflect.DeepEqual(a.Sources, b.Sources)
	})
}

// signed reports whether the statements of a record are by the key that signs
// now. They were signed in one go, so the shortest tells, by the name of its key:
// this is asked at every build, and publish checks the signatures of all.
func (s *Shop) signed(r *Record) bool {
	pub, err := sign.ReadPublic(s.KeysDir())
	if err != nil || len(r.Bundles) == 0 {
		return false
	}
	shortest := slices.MinFunc(slices.Collect(maps.Values(r.Bundles)), func(a, b []byte) int { return cmp.Compare(len(a), len(b)) })
	bundle, err := intoto.DecodeBundle(shortest)
	return err == nil && bundle.KeyID() == pub.KeyID
}

// definition returns the bytes of the definition that a lock names.
func (s *Shop) definition(ctx context.Context, lock *ashlar.Lock) ([]byte, error) {
	return blob.ReadAll(ctx, s.Store, lock.Inputs.Definition.Digest, maxDefinition)
}

// maxDefinition bounds a definition, or a file that it includes, in bytes.
const maxDefinition = 1 << 20

// compiled returns the result of the plan: that of an earlier run, whose packages
// the gate may have refused, or a new one. The engine would have the packages in
// its cache, but not the log, which is evidence.
func (s *Shop) compiled(ctx context.Context, ref Ref, p *Planned, opts BuildOptions) (*ashlar.Result, error) {
	file := s.path("compiled", p.Plan.Key().Hex()+".json")
	if !opts.Fresh {
		if res := s.kept(ctx, file, p.Plan.Lock); res != nil {
			s.report(Event{Subject: ref.File(), Stage: "build", State: Cached})
			return res, nil
		}
	}
	res, err := s.compile(ctx, ref, p, opts)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(res)
	if err != nil {
		return nil, fault.New(fault.Internal, "%w", err)
	}
	if err := durable.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	return res, durable.WriteFile(file, b, 0o644)
}

// kept reads a result if it is there with all its files; nil if not. The lock may
// be another one that leads to the same plan.
func (s *Shop) kept(ctx context.Context, file string, lock ashlar.Digest) *ashlar.Result {
	b, err := os.ReadFile(file)
	var res ashlar.Result
	if err != nil || json.Unmarshal(b, &res) != nil {
		return nil
	}
	for _, f := range append([]ashlar.File{res.Log}, res.Files...) {
		if _, err := s.Store.Stat(ctx, f.Digest); err != nil {
			return nil
		}
	}
	res.Lock = lock
	return &res
}

// compile runs the plan.
func (s *Shop) compile(ctx context.Context, ref Ref, p *Planned, opts BuildOptions) (res *ashlar.Result, err error) {
	done := s.stage(ref.File(), "build")
	defer func() { done("", false, err) }()
	r, err := s.runner(ctx, ref.File(), "build", p.Plan.Target.Arch, build.Variation{Fresh: opts.Fresh})
	if err != nil {
		return nil, err
	}
	log, err := s.logFile(ref, p.Lock.Inputs.Target.Arch)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	r.Log = log
	if res, err = r.Run(ctx, p.Plan); fault.Is(err, fault.Failed) {
		err = fault.New(fault.Failed, "%w", err).At(ref.File(), 0).Fix("the whole log is %s", log.Name())
	}
	return res, err
}

// judge lets the gate look at a result.
func (s *Shop) judge(ctx context.Context, ref Ref, p *Planned, res *ashlar.Result) (v *ashlar.Verdict, err error) {
	subject := ref.File()
	done := s.stage(subject, "gate")
	defer func() {
		detail := ""
		if v != nil {
			detail = fmt.Sprintf("%d checks", len(v.Checks))
		}
		done(detail, false, err)
	}()
	note := func(format string, args ...any) {
		s.report(Event{Subject: subject, Stage: "gate", State: Noted, Detail: fmt.Sprintf(format, args...)})
	}
	v = &ashlar.Verdict{Passed: true}
	if len(res.Debs()) > 0 {
		if v, err = s.judgeDebs(ctx, subject, p, res, note); err != nil {
			return nil, err
		}
	}
	if err := s.judgeAPKs(ctx, ref, p, res, v); err != nil {
		return nil, err
	}
	for _, check := range v.Checks {
		if check.Outcome == ashlar.CheckLeftOut {
			note("%s of %s was left out: %s", check.Name, check.Subject, check.Detail)
		}
	}
	return v, nil
}

// dsc returns the description of the source package that was built: the one that
// the build wrote, or the pinned one.
func (s *Shop) dsc(ctx context.Context, lock *ashlar.Lock, res *ashlar.Result) ([]byte, error) {
	const maxDsc = 1 << 20
	for _, f := range res.Files {
		if filepath.Ext(f.Name) == ".dsc" {
			return blob.ReadAll(ctx, s.Store, f.Digest, maxDsc)
		}
	}
	for _, b := range lock.Inputs.Builds {
		for _, src := range b.Sources {
			if filepath.Ext(src.Name) == ".dsc" {
				return blob.ReadAll(ctx, s.Store, src.Digest, maxDsc)
			}
		}
	}
	return nil, nil
}

// attest asks the signer for statements about every package.
func (s *Shop) attest(ctx context.Context, ref Ref, r *Record) (bundles map[string][]byte, err error) {
	done := s.stage(ref.File(), "attest")
	defer func() { done(fmt.Sprintf("%d bundles", len(bundles)), false, err) }()
	k, err := s.keys(ctx)
	if err != nil {
		return nil, err
	}
	e := r.evidence(ctx, ref, s.Now())
	if e.Summaries, err = s.summaries(r.Lock); err != nil {
		return nil, err
	}
	return attest.Sign(ctx, k, e)
}

// evidence returns what is known of the build, for the signer and for policy.
func (r *Record) evidence(ctx context.Context, ref Ref, now time.Time) *attest.Evidence {
	return &attest.Evidence{
		Definition: attest.Definition{Path: ref.Path, Content: r.Definition, Catalog: catalogState(ctx, ref.Root)},
		Lock:       r.Lock, Result: r.Result, Gate: r.Verdict, Now: now.UTC(),
	}
}

// catalogState says which commit of which repository a catalog is at.
func catalogState(ctx context.Context, root string) attest.Catalog {
	r := source.RevisionOf(ctx, root)
	return attest.Catalog{URI: r.URI, Commit: r.Commit, Dirty: r.Dirty}
}
