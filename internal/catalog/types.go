package catalog

import (
	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Pos is a place in a definition.
type Pos struct {
	File string // relative to the folder that holds the catalog's root, as the user wrote it
	Line int    // 1-based
}

// A Definition is one file of the catalog with the files it includes, checked
// for form but not yet expanded for a target.
type Definition struct {
	Path     string        // slash-separated, relative to the catalog root
	Digest   ashlar.Digest // of the file's bytes
	Includes []ashlar.File // of the files it includes, in the order they were read; names relative to the root
	Distro   ashlar.Distro // what it is for: "debian-12", "alpine-3.24"; "helm" for a chart
	Syntax   string        // of the "# syntax=" line, "" if it has none
	Spec     Spec          // as written: nothing is substituted

	root     string
	tree     *node
	mismatch *fault.Error // os-release and folder disagree
}

// An Expanded definition is a definition for one target: conditions are decided,
// platforms filtered, variables and expressions substituted. What only a later
// stage knows (${source.version}, ${target.dir}) stays as it is until Bind.
type Expanded struct {
	Definition *Definition
	Target     ashlar.Target
	Spec

	tree *node
}

// A Spec is the content of a definition: every key of the open format.
type Spec struct {
	Pos
	Includes      []string          `yaml:"includes"`
	Track         []Track           `yaml:"track"`
	Name          string            `yaml:"name"`
	Image         string            `yaml:"image"`
	Compression   string            `yaml:"compression" enum:"zstd|gzip"`
	Output        string            `yaml:"output" enum:"layered|squashed"`
	Entitlement   string            `yaml:"entitlement" enum:"public|enterprise|els"`
	Variant       string            `yaml:"variant" enum:"dev|runtime|helm"`
	Flavor        string            `yaml:"flavor"`
	Tags          []string          `yaml:"tags"`
	Suffix        string            `yaml:"suffix"`
	Platforms     []string          `yaml:"platforms" enum:"linux/amd64|linux/arm64"`
	Dates         Dates             `yaml:"dates"`
	Vars          map[string]string `yaml:"vars"`
	RootContents  `yaml:"contents"`
	Accounts      Accounts          `yaml:"accounts"`
	OSRelease     OSRelease         `yaml:"os-release"`
	WorkDir       string            `yaml:"work-dir"`
	StopSignal    string            `yaml:"stop-signal"`
	Environment   map[string]string `yaml:"environment"`
	Paths         []PathEntry       `yaml:"paths"`
	Annotations   map[string]string `yaml:"annotations"`
	Labels        map[string]string `yaml:"labels"`
	Entrypoint    []string          `yaml:"entrypoint"`
	Cmd           []string          `yaml:"cmd"`
	Ports         []string          `yaml:"ports"`
	Tests         []Test            `yaml:"tests"`
	FIPSCompliant bool              `yaml:"fips-compliant"`
	STIGCertified bool              `yaml:"stig-certified"`
}

// RootContents are the contents of the result, and the builds that lead to it.
type RootContents struct {
	Contents `yaml:",inline"`
	Builds   []Build `yaml:"builds"`
}

// Contents are what goes into a build root or an image before any step runs.
type Contents struct {
	Repositories []string          `yaml:"repositories"`
	Keyring      []string          `yaml:"keyring"`  // addresses of keys for the repositories
	Packages     []string          `yaml:"packages"` // "name", "name=version", "name~version", "!name"
	Files        []FetchFile       `yaml:"files"`
	Mappings     map[string]string `yaml:"mappings"` // package to purl, for the SBOM
	Artifacts    []Artifact        `yaml:"artifacts"`
}

// A Build is one build stage: a root, files put into it, and steps run in it.
type Build struct {
	Pos
	Name         string            `yaml:"name"`
	If           string            `yaml:"if"` // "" once expanded
	Entitlement  string            `yaml:"entitlement"`
	Uses         string            `yaml:"uses"` // an image as base instead of a root made of packages
	WorkDir      string            `yaml:"work-dir"`
	Shell        string            `yaml:"shell"`
	Privileged   bool              `yaml:"privileged"` // every step has the network
	Environment  map[string]string `yaml:"environment"`
	Caches       []Cache           `yaml:"caches"`
	Matrix       []Matrix          `yaml:"matrix"`
	Contents     `yaml:"contents"`
	Pipeline     []Step        `yaml:"pipeline"`
	Paths        []PathEntry   `yaml:"paths"`
	Accounts     Accounts      `yaml:"accounts"`
	Outputs      []Output      `yaml:"outputs"`
	Attestations []Attestation `yaml:"attestations"`
}

// A FetchFile is a file, or a tree, brought into a build from an address.
type FetchFile struct {
	Pos
	URL       string   `yaml:"url"`
	If        string   `yaml:"if"`       // "" once expanded
	Checksum  string   `yaml:"checksum"` // "sha256:…", a commit, or the address of a checksum file
	Path      string   `yaml:"path"`     // ends in "/" for a tree
	Includes  []string `yaml:"includes"`
	Excludes  []string `yaml:"excludes"`
	Platforms []string `yaml:"platforms" enum:"linux/amd64|linux/arm64"`
	SPDX      SPDX     `yaml:"spdx"`
	UID       int      `yaml:"uid"`
	GID       int      `yaml:"gid"`
	Mode      Mode     `yaml:"mode"`
	SecretID  string   `yaml:"secret-id"`
}

// A Mode is a file mode in octal digits, "0644"; "" leaves the default.
type Mode string

// A PathEntry is a change to the file tree of a build or an image.
type PathEntry struct {
	Pos
	Type      PathType `yaml:"type,required" enum:"symlink|directory|file|delete|emptyfile"`
	Path      string   `yaml:"path,required"`
	If        string   `yaml:"if"` // "" once expanded
	Content   string   `yaml:"content"`
	Source    string   `yaml:"source"` // a path relative to the catalog root; what a symlink points to
	UID       int      `yaml:"uid"`
	GID       int      `yaml:"gid"`
	Mode      Mode     `yaml:"mode"`
	Recursive bool     `yaml:"recursive"`
	Platforms []string `yaml:"platforms" enum:"linux/amd64|linux/arm64"`
}

// A PathType says what a PathEntry does.
type PathType string

// The kinds of path entry.
const (
	Symlink   PathType = "symlink"
	Directory PathType = "directory"
	PlainFile PathType = "file"
	Delete    PathType = "delete"
	EmptyFile PathType = "emptyfile"
)

// A Step is one entry of a build's pipeline: a named kind of step with its
// parameters (Uses, With), or a shell script (Runs).
type Step struct {
	Pos
	Name        string            `yaml:"name"`
	If          string            `yaml:"if"`   // "" once expanded
	Uses        string            `yaml:"uses"` // "dpkg/build@v1"; "" for a script
	RunAs       string            `yaml:"run-as"`
	WorkDir     string            `yaml:"work-dir"` // "" means that of the build
	Shell       string            `yaml:"shell"`    // "" means that of the build
	Privileged  bool              `yaml:"privileged"`
	Environment map[string]string `yaml:"environment"`
	Caches      []Cache           `yaml:"caches"`
	Secrets     []Secret          `yaml:"secrets"`
	With        Raw               `yaml:"with"` // read with DecodeWith
	Runs        string            `yaml:"runs"`
}

// A Raw is a part of a definition whose form is known elsewhere.
type Raw struct{ node *node }

// A Cache is a folder that outlives a build.
type Cache struct {
	Pos
	Path    string `yaml:"path,required"`
	Sharing string `yaml:"sharing" enum:"shared|private|locked"`
}

// A Secret is a secret that a step may read from its environment.
type Secret struct {
	Pos
	ID       string `yaml:"id,required"`
	If       string `yaml:"if"` // "" once expanded
	Env      string `yaml:"env,required"`
	Optional bool   `yaml:"optional"`
}

// A Matrix is one dimension over which a build is repeated.
type Matrix struct {
	Pos
	Name  string `yaml:"name"`
	Items Raw    `yaml:"items"`
}

// An Artifact is a part of another image, copied by digest.
type Artifact struct {
	Pos
	Name     string   `yaml:"name"`
	If       string   `yaml:"if"` // "" once expanded
	Includes []string `yaml:"includes"`
	Excludes []string `yaml:"excludes"`
	UID      int      `yaml:"uid"`
	GID      int      `yaml:"gid"`
}

// An Output is a part of a build that goes into the result.
type Output struct {
	Pos
	Source string `yaml:"source"`
	Target string `yaml:"target"`
	If     string `yaml:"if"` // "" once expanded
	UID    int    `yaml:"uid"`
	GID    int    `yaml:"gid"`
	Mode   Mode   `yaml:"mode"`
	Diff   bool   `yaml:"diff"` // only what the steps changed
}

// An Attestation is a statement that a build writes about itself.
type Attestation struct {
	Pos
	If            string `yaml:"if"` // "" once expanded
	PredicateType string `yaml:"predicate-type"`
	Source        string `yaml:"source"`
	Diff          bool   `yaml:"diff"`
}

// Accounts are the users and groups of a build or an image.
type Accounts struct {
	Root   bool    `yaml:"root"`
	RunAs  string  `yaml:"run-as"`
	Users  []User  `yaml:"users"`
	Groups []Group `yaml:"groups"`
}

// A User is one line of the password file.
type User struct {
	Pos
	Name string `yaml:"name,required"`
	UID  int    `yaml:"uid,required"`
	GID  int    `yaml:"gid,required"`
	Mode Mode   `yaml:"mode"` // of the home folder
}

// A Group is one line of the group file.
type Group struct {
	Pos
	Name    string   `yaml:"name,required"`
	GID     int      `yaml:"gid,required"`
	Members []string `yaml:"members"`
}

// OSRelease are the fields of the result's os-release file.
type OSRelease struct {
	Pos
	Name            string `yaml:"name"`
	ID              string `yaml:"id"`
	IDLike          string `yaml:"id-like"`
	VersionID       string `yaml:"version-id"`
	VersionCodename string `yaml:"version-codename"`
	PrettyName      string `yaml:"pretty-name"`
	HomeURL         string `yaml:"home-url"`
	BugReportURL    string `yaml:"bug-report-url"`
}

// Dates are the life cycle of what is packaged, as ISO dates.
type Dates struct {
	Type         string `yaml:"type"`
	URL          string `yaml:"url"`
	Release      string `yaml:"release"`
	EndOfLife    string `yaml:"end-of-life"`
	EndOfSupport string `yaml:"end-of-support"`
}

// SPDX describes a fetched file in the SBOM.
type SPDX struct {
	Name     string        `yaml:"name"`
	Version  string        `yaml:"version"`
	Packages []SPDXPackage `yaml:"packages"`
}

// An SPDXPackage is one package of a fetched file in the SBOM.
type SPDXPackage struct {
	Name    string `yaml:"name"`
	PURL    string `yaml:"purl"`
	License string `yaml:"license"`
	Path    string `yaml:"path"`
}

// A Test is a test run on the result from outside.
type Test struct {
	Pos
	Name      string   `yaml:"name"`
	Directory string   `yaml:"directory"`
	Commands  []string `yaml:"commands"`
	ExitCode  int      `yaml:"exit-code,required"`
	Timeout   int      `yaml:"timeout"`
	Output    string   `yaml:"output"`
}

// A Track says where new versions of something come from and which variables
// they set.
type Track struct {
	Pos
	Type      string   `yaml:"type,required" enum:"github_release|github_tag|github_repository|alpine_package|debian_package|var_increment|oci_artifact|file|json_file"`
	Owner     string   `yaml:"owner"`
	Repo      string   `yaml:"repo"`
	Branch    string   `yaml:"branch"`
	Package   string   `yaml:"package"`
	Name      string   `yaml:"name"`
	URL       string   `yaml:"url"`
	Use       string   `yaml:"use" enum:"release|tag"`
	Match     string   `yaml:"match"`
	Set       Raw      `yaml:"set"`
	Increment []string `yaml:"increment"`
	Reset     []string `yaml:"reset"`
}

// Strings is a list that may be written as a single string. It is for the
// parameters of steps where the format allows both.
type Strings []string
