package engine

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	spb "github.com/moby/buildkit/sourcepolicy/pb"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Request says what Solve may read, where its output goes and who watches.
type Request struct {
	Blobs blob.Store  // what Blob and Image refer to
	Arch  ashlar.Arch // of the programs that steps run, "" for Native
	// Out is the folder that the output becomes, "" for none. It must not exist;
	// its parent must. It appears whole, after everything succeeded, or not at
	// all. Steps are hostile: its symbolic links may point anywhere.
	Out     string
	Network bool // allow steps with Network set
	// Progress is called with every change of every vertex, one call at a time. It
	// must not block for long. May be nil.
	Progress func(Event)
}

// An Event is news of one vertex of the graph. Log has the bytes that it wrote
// since the event before; the other fields are the state so far.
type Event struct {
	Vertex    ashlar.Digest
	Name      string
	Started   time.Time // zero if not yet
	Completed time.Time // zero if not yet
	Cached    bool
	Error     string // "" unless it failed or was cancelled
	Log       []byte
}

// Solve runs the graph that ends in root and waits for the end. When ctx ends,
// running steps are killed. Errors:
//   - fault.Failed with a *StepError: a step exited with a code other than 0
//   - fault.Policy: the graph has a source, network or privilege it may not have;
//     nothing was run
//   - fault.NotFound: a blob is missing
//   - fault.Conflict: Out exists
//   - fault.Unavailable: the daemon does not answer, died, or its disk is full
//   - ctx.Err()
func (c *Client) Solve(ctx context.Context, root llb.State, req Request) error {
	def, err := c.marshal(ctx, root, cmp.Or(req.Arch, Native))
	if err != nil {
		return fault.New(fault.Internal, "make the graph: %w", err)
	}
	if err := check(def, req.Network); err != nil {
		return err
	}
	conn, _, err := c.living(ctx)
	if err != nil {
		return err
	}
	if req.Out == "" {
		return c.solve(ctx, conn, def, client.SolveOpt{}, req)
	}
	out, err := newOutput(req.Out)
	if err != nil {
		return err
	}
	defer out.abort()
	opt := client.SolveOpt{Exports: []client.ExportEntry{{Type: client.ExporterLocal, OutputDir: out.dir}}}
	if err := c.solve(ctx, conn, def, opt, req); err != nil {
		return err
	}
	return out.commit()
}

// marshal encodes the graph. Graphs that share vertices may be solved at once,
// and the library sorts a vertex's mounts in place as it encodes it: one at a time.
func (c *Client) marshal(ctx context.Context, root llb.State, arch ashlar.Arch) (*llb.Definition, error) {
	c.encoding.Lock()
	defer c.encoding.Unlock()
	return root.Marshal(ctx, llb.Platform(platform(arch)))
}

// solve sends the graph under the source policy and follows it.
func (c *Client) solve(ctx context.Context, conn *client.Client, def *llb.Definition, opt client.SolveOpt, req Request) error {
	lost := &lost{}
	opt.SourcePolicy = onlyBlobs()
	opt.Internal = true // no record in the daemon's history; the caller keeps its own
	if req.Blobs != nil {
		opt.OCIStores = map[string]content.Store{storeID: blobStore{req.Blobs, lost}}
	}
	updates := make(chan *client.SolveStatus)
	watch := newWatch(req.Progress)
	var wait sync.WaitGroup
	wait.Go(func() {
		for u := range updates {
			watch.update(u)
		}
	})
	_, err := conn.Solve(ctx, def, opt, updates)
	wait.Wait()
	if err == nil {
		return nil
	}
	return c.explain(ctx, err, watch, lost.first())
}

// onlyBlobs is the source policy that the daemon enforces before it runs
// anything: every source is denied but the client's blobs. The last rule that
// matches counts.
func onlyBlobs() *spb.Policy {
	rule := func(a spb.PolicyAction, pattern string, attrs ...*spb.AttrConstraint) *spb.Rule {
		return &spb.Rule{Action: a, Selector: &spb.Selector{Identifier: pattern, MatchType: spb.MatchType_WILDCARD, Constraints: attrs}}
	}
	own := []*spb.AttrConstraint{
		{Key: pb.AttrOCILayoutStoreID, Value: storeID, Condition: spb.AttrMatch_EQUAL},
		{Key: pb.AttrOCILayoutSessionID, Value: "", Condition: spb.AttrMatch_EQUAL}, // no other client's session
	}
	return &spb.Policy{Version: 1, Rules: []*spb.Rule{
		rule(spb.PolicyAction_DENY, "*"),
		rule(spb.PolicyAction_ALLOW, layoutPrefix+"*", own...),
		rule(spb.PolicyAction_ALLOW, blobPrefix+"*", own...),
	}}
}
