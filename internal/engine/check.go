package engine

import (
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// check refuses a graph with an operation that could reach outside its inputs,
// whoever made it.
func check(def *llb.Definition, network bool) error {
	for _, b := range def.Def {
		var op pb.Op
		if err := op.UnmarshalVT(b); err != nil {
			return fault.New(fault.Internal, "read the graph back: %w", err)
		}
		switch o := op.Op.(type) {
		case *pb.Op_Source:
			if err := checkSource(o.Source); err != nil {
				return err
			}
		case nil, *pb.Op_File, *pb.Op_Merge, *pb.Op_Diff:
		case *pb.Op_Exec:
			if err := checkExec(o.Exec, network); err != nil {
				return err
			}
		default:
			return fault.New(fault.Policy, "the graph has an operation of a kind that is not allowed: %T", o)
		}
	}
	return nil
}

// checkSource wants a blob of the client's own store. The daemon is told the same
// with onlyBlobs; this says it better, and earlier.
func checkSource(s *pb.SourceOp) error {
	own := strings.HasPrefix(s.Identifier, layoutPrefix) || strings.HasPrefix(s.Identifier, blobPrefix)
	if !own || s.Attrs[pb.AttrOCILayoutStoreID] != storeID || s.Attrs[pb.AttrOCILayoutSessionID] != "" {
		return fault.New(fault.Policy, "the graph has a source that is not the client's own: %.200q", s.Identifier).
			Fix("fetch it into the blob store first")
	}
	return nil
}

func checkExec(e *pb.ExecOp, network bool) error {
	refuse := func(what string) *fault.Error {
		return fault.New(fault.Policy, "step %.200q asks for %s", e.GetMeta().GetArgs(), what)
	}
	switch {
	case e.Network == pb.NetMode_UNSET && !network:
		return refuse("the network").Fix("mark the step privileged, and allow it by policy")
	case e.Network != pb.NetMode_NONE && e.Network != pb.NetMode_UNSET:
		return refuse("the host's network, which is never granted")
	case e.Security != pb.SecurityMode_SANDBOX:
		return refuse("security.insecure, which is never granted")
	case len(e.Secretenv) > 0:
		return refuse("a secret, which is never granted")
	case len(e.CdiDevices) > 0:
		return refuse("a device, which is never granted")
	case e.GetMeta().GetProxyEnv() != nil:
		return refuse("the proxy settings of the host")
	case e.GetMeta().GetCgroupParent() != "":
		return refuse("a control group of the host")
	}
	for _, m := range e.Mounts {
		if m.MountType != pb.MountType_BIND && m.MountType != pb.MountType_TMPFS {
			return refuse("a mount of type " + m.MountType.String() + ", which could be shared between builds")
		}
	}
	return nil
}
