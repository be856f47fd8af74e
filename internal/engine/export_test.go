package engine

// OnlyBlobs is the source policy that Solve sends.
var OnlyBlobs = onlyBlobs
