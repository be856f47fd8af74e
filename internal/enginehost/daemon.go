package enginehost

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/frontend"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/bboltcachestorage"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/source"
	"github.com/moby/buildkit/source/containerblob"
	"github.com/moby/buildkit/util/db/boltutil"
	"github.com/moby/buildkit/util/network/cniprovider"
	"github.com/moby/buildkit/util/network/netproviders"
	"github.com/moby/buildkit/worker"
	"github.com/moby/buildkit/worker/base"
	"github.com/moby/buildkit/worker/runc"
	"github.com/sirupsen/logrus"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sync/semaphore"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// A daemon is BuildKit's controller with one worker, not yet serving.
type daemon struct {
	controller  *control.Controller
	steps       *steps
	snapshotter string
	parallel    int
	end         context.CancelFunc
}

// newDaemon opens the state in cfg.Dir.
func newDaemon(cfg Config) (*daemon, error) {
	ctx, end := context.WithCancel(context.Background())
	d := &daemon{parallel: parallel(cfg.Parallel), end: end}
	w, err := d.newWorker(ctx, cfg)
	if err != nil {
		end()
		return nil, err
	}
	workers := &worker.Controller{}
	if err := workers.Add(w); err != nil {
		end()
		return nil, err
	}
	if d.controller, err = newController(ctx, cfg.Dir, w, workers); err != nil {
		end()
		return nil, errors.Join(err, workers.Close())
	}
	return d, nil
}

// close ends the daemon's background work and closes its state.
func (d *daemon) close() error {
	d.end()
	return d.controller.Close()
}

func (d *daemon) newWorker(ctx context.Context, cfg Config) (*base.Worker, error) {
	factory := snapshotter(cfg.Dir)
	d.snapshotter = factory.Name
	// The address is of a documentation network: steps learn nothing of the
	// host's resolver, and nothing answers there.
	dns := &oci.DNSConfig{Nameservers: []string{"192.0.2.1"}, SearchDomains: []string{"."}, Options: []string{"ndots:1"}}
	network := netproviders.Opt{Mode: "host", CNI: cniprovider.Opt{Root: cfg.Dir}}
	opt, err := runc.NewWorkerOpt(cfg.Dir, factory, false, oci.ProcessSandbox, nil, nil, network, dns, "", "", false,
		semaphore.NewWeighted(int64(d.parallel)), "" /* no trace socket */, "", nil /* no devices */)
	if err != nil {
		return nil, workerFault(err)
	}
	delete(opt.NetworkProviders, pb.NetMode_HOST)
	opt.GCPolicy = collection(cfg.MaxCache)
	opt.RegistryHosts = noRegistry
	d.steps = newSteps(opt.Executor)
	opt.Executor = d.steps
	w, err := base.NewWorker(ctx, opt)
	if err != nil {
		return nil, fault.New(fault.Internal, "start the worker: %w", err)
	}
	return w, onlyBlobs(w)
}

func workerFault(err error) error {
	if strings.Contains(err.Error(), "failed to find runc") {
		return fault.New(fault.Unavailable, "runc is not installed").Fix("apt-get install runc")
	}
	return fault.New(fault.Internal, "start the worker: %w", err)
}

// snapshotter returns overlayfs where it works, else the native one, which
// copies: correct, and slow.
func snapshotter(dir string) runc.SnapshotterFactory {
	if err := overlayutils.Supported(dir); err != nil {
		logrus.Warnf("overlayfs does not work in %s, so that every step copies its root: %v", dir, err)
		return runc.SnapshotterFactory{Name: "native", New: native.NewSnapshotter}
	}
	return runc.SnapshotterFactory{Name: "overlayfs", New: func(root string) (snapshots.Snapshotter, error) {
		return overlay.NewSnapshotter(root, overlay.AsynchronousRemove)
	}}
}

// onlyBlobs leaves the worker no source but what a client's session has: no
// HTTP, Git, registry or local folder, whatever a graph says.
func onlyBlobs(w *base.Worker) error {
	blobs, err := containerblob.NewSource(containerblob.SourceOpt{
		ContentStore: w.ContentStore(), CacheAccessor: w.CacheMgr, RegistryHosts: noRegistry})
	if err != nil {
		return fault.New(fault.Internal, "start the worker: %w", err)
	}
	sources, err := source.NewManager()
	if err != nil {
		return fault.New(fault.Internal, "start the worker: %w", err)
	}
	sources.Register(w.OCILayoutSource)
	sources.Register(blobs)
	w.SourceManager = sources
	return nil
}

func noRegistry(host string) ([]docker.RegistryHost, error) {
	return nil, fmt.Errorf("this engine asks no registry, not %s either", host)
}

// collection is what the daemon throws away, least used first: whatever is above
// max bytes, and more when the disk is nearly full.
func collection(max int64) []client.PruneInfo {
	if max == 0 {
		max = DefaultMaxCache
	}
	return []client.PruneInfo{{All: true, MaxUsedSpace: max, ReservedSpace: max / 10, MinFreeSpace: 2 << 30}}
}

func newController(ctx context.Context, dir string, w *base.Worker, workers *worker.Controller) (*control.Controller, error) {
	sessions, err := session.NewManager()
	if err != nil {
		return nil, err
	}
	cache, err := bboltcachestorage.NewStore(filepath.Join(dir, "cache.db"))
	if err != nil {
		return nil, fault.New(fault.Internal, "open the cache's index: %w", err)
	}
	history, err := boltutil.SafeOpen(filepath.Join(dir, "history.db"), 0o600,
		&bolt.Options{FreelistType: bolt.FreelistMapType, NoFreelistSync: true})
	if err != nil {
		return nil, errors.Join(fault.New(fault.Internal, "open the history: %w", err), cache.Close())
	}
	kept := int64(1)
	return control.NewController(control.Opt{
		SessionManager:   sessions,
		WorkerController: workers,
		Frontends:        map[string]frontend.Frontend{},
		CacheManager:     solver.NewCacheManager(ctx, "local", cache, worker.NewCacheResultStorage(workers)),
		HistoryDB:        history,
		HistoryConfig:    &config.HistoryConfig{MaxEntries: &kept},
		CacheStore:       cache,
		LeaseManager:     w.LeaseManager(),
		ContentStore:     w.ContentStore(),
		GarbageCollect:   w.GarbageCollect,
		GracefulStop:     ctx.Done(),
	})
}
