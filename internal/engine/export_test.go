package engine

// OnlyBlobs is the source policy that Solve sends, and Marshal how it encodes a
// graph.
var (
	OnlyBlobs = onlyBlobs
	Marshal   = (*Client).marshal
)
