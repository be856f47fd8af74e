package work

import (
	"context"
	"path"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/build"
	"github.com/ashlar-project/ashlar/internal/gate"
	"github.com/ashlar-project/ashlar/internal/pack"
	"github.com/ashlar-project/ashlar/internal/resolve"
)

// judgeDebs lets the gate look at the .debs of a result.
func (s *Shop) judgeDebs(ctx context.Context, subject string, p *Planned, res *ashlar.Result, note func(string, ...any)) (*ashlar.Verdict, error) {
	target, err := resolve.RootTarget(p.Definition)
	if err != nil {
		return nil, err
	}
	world, err := resolve.WorldOf(ctx, s.Archive, s.Fetcher, target, p.Lock, s.Now())
	if err != nil && ctx.Err() == nil {
		note("judged on today's indexes, since those of the lock cannot be used: %v", err)
		world, err = resolve.NewWorld(ctx, s.Archive, s.Fetcher, target, s.Now())
	}
	if err != nil {
		return nil, err
	}
	c, err := gate.Prepare(ctx, world, res)
	if err != nil {
		return nil, err
	}
	if c.Dsc, err = s.dsc(ctx, p.Lock, res); err != nil {
		return nil, err
	}
	c.ArchOnly = build.ArchOnly(p.Definition)
	for _, b := range p.Definition.Builds {
		c.Profiles = append(c.Profiles, b.ProfileLists()...)
	}
	r, err := s.runner(ctx, subject, "gate", res.Target.Arch, build.Variation{})
	if err != nil {
		return nil, err
	}
	return gate.Judge(ctx, r, c)
}

// judgeAPKs lets the gate look at the .apks of a result, if there are any.
func (s *Shop) judgeAPKs(ctx context.Context, ref Ref, p *Planned, res *ashlar.Result, v *ashlar.Verdict) error {
	c := &gate.APKCase{Target: res.Target, Root: p.Lock.Inputs.Builds[0].Root, Scratch: s.path("tmp")}
	for _, f := range res.Files {
		if path.Ext(f.Name) == ".apk" {
			c.Set = append(c.Set, f)
		}
	}
	if len(c.Set) == 0 {
		return nil
	}
	exceptions, err := pack.ParseExceptions(p.Definition.Pos, p.Lock.Inputs.Vars[pack.ExceptionsVar])
	if err != nil {
		return err
	}
	c.Exceptions = exceptions
	if c.Others, err = s.own(ctx, ref, res.Target); err != nil {
		return err
	}
	r, err := s.runner(ctx, ref.File(), "gate", res.Target.Arch, build.Variation{})
	if err != nil {
		return err
	}
	return gate.JudgeAPK(ctx, r, c, v)
}
