// Package sbom writes software bills of materials: what a package is made of, in
// the words of SPDX 2.3. It is pure: the same input gives the same bytes.
package sbom

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// An Input is what a document says.
type Input struct {
	Name      string    // of the document, such as the file name of the package
	Namespace string    // base address of document names, "https://example.org/spdx"
	Tool      string    // name and version of the maker, "ashlar-1.0"
	Created   time.Time // to the second

	Packages []Package // what the document is about: one .deb, or those of one source
	Sources  []Package // what they were generated from
	Patches  []Package // patches applied to the sources
}

// A Package is a package or a single file in a document.
type Package struct {
	Name     string
	Version  string
	FileName string        // "" if it has none
	URI      string        // where it came from; an address, or an alias such as mirror://…
	PURL     string        // package URL, "" if it has none
	Digest   ashlar.Digest // of its content
	Licenses Licenses      // that its copyright file declares
}

// The parts of an SPDX 2.3 document.
type (
	document struct {
		SPDXVersion   string             `json:"spdxVersion"`
		DataLicense   string             `json:"dataLicense"`
		ID            string             `json:"SPDXID"`
		Name          string             `json:"name"`
		Namespace     string             `json:"documentNamespace"`
		Creation      creation           `json:"creationInfo"`
		Packages      []element          `json:"packages"`
		Licenses      []extractedLicense `json:"hasExtractedLicensingInfos,omitempty"`
		Relationships []relationship     `json:"relationships"`
	}
	creation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	element struct {
		ID               string     `json:"SPDXID"`
		Name             string     `json:"name"`
		Version          string     `json:"versionInfo,omitempty"`
		FileName         string     `json:"packageFileName,omitempty"`
		DownloadLocation string     `json:"downloadLocation"`
		FilesAnalyzed    bool       `json:"filesAnalyzed"`
		Checksums        []checksum `json:"checksums,omitempty"`
		SourceInfo       string     `json:"sourceInfo,omitempty"`
		LicenseConcluded string     `json:"licenseConcluded"`
		LicenseDeclared  string     `json:"licenseDeclared"`
		Copyright        string     `json:"copyrightText"`
		Purpose          string     `json:"primaryPackagePurpose,omitempty"`
		References       []ref      `json:"externalRefs,omitempty"`
	}
	checksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	ref struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	relationship struct {
		From string `json:"spdxElementId"`
		Type string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
)

const (
	documentID  = "SPDXRef-DOCUMENT"
	nothingSaid = "NOASSERTION"
)

// SPDX returns an SPDX 2.3 document in JSON, lists in the order given. Its
// namespace ends in the digest of all the rest, so it names this content and no
// other. An input without a name, a namespace, a tool or a package, or with a
// package that has no name or no valid digest, is a fault.Invalid error.
//
// Single files inside packages are not listed: SPDX 2.3 demands a SHA-1 of each,
// and the digest of the package covers them.
func SPDX(in Input) ([]byte, error) {
	if in.Name == "" || in.Namespace == "" || in.Tool == "" || len(in.Packages) == 0 {
		return nil, fault.New(fault.Invalid, "an SBOM needs a name, a namespace, a tool and a package")
	}
	b := builder{used: map[string]bool{}}
	packages := b.elements("Package", "INSTALL", in.Packages)
	sources := b.elements("Source", "SOURCE", in.Sources)
	patches := b.elements("Patch", "SOURCE", in.Patches)
	if b.err != nil {
		return nil, b.err
	}
	b.relate([]string{documentID}, "DESCRIBES", packages)
	b.relate(packages, "GENERATED_FROM", sources)
	b.relate(packages, "GENERATED_FROM", patches)
	b.relate(patches, "PATCH_APPLIED", sources[:min(1, len(sources))])
	d := document{
		SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", ID: documentID, Name: in.Name,
		Creation: creation{Created: in.Created.UTC().Format("2006-01-02T15:04:05Z"), Creators: []string{"Tool: " + in.Tool}},
		Packages: b.all, Licenses: b.licenses, Relationships: b.relations,
	}
	content, err := encode(d)
	if err != nil {
		return nil, err
	}
	d.Namespace = strings.TrimSuffix(in.Namespace, "/") + "/" + escape(in.Name) + "-" + ashlar.DigestOf(content).Hex()
	return encode(d)
}

func encode(d document) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(d); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// builder collects the parts of a document and keeps the first error.
type builder struct {
	all       []element
	relations []relationship
	licenses  []extractedLicense
	textSize  int             // of the licenses, in bytes
	used      map[string]bool // identifiers
	err       error
}

// elements adds packages of one role and returns their identifiers.
func (b *builder) elements(role, purpose string, packages []Package) []string {
	ids := make([]string, 0, len(packages))
	for _, p := range packages {
		if err := p.Digest.Validate(); (err != nil || p.Name == "") && b.err == nil {
			b.err = fault.New(fault.Invalid, "an SBOM needs the name and the digest of each package; %q has %q", p.Name, p.Digest)
		}
		e := element{
			ID: b.id(role, p.Name), Name: p.Name, Version: p.Version, FileName: p.FileName, Purpose: purpose,
			DownloadLocation: nothingSaid, LicenseConcluded: nothingSaid, LicenseDeclared: b.declared(p.Licenses), Copyright: nothingSaid,
			Checksums: []checksum{{"SHA256", p.Digest.Hex()}},
		}
		if p.PURL != "" {
			e.References = []ref{{"PACKAGE-MANAGER", "purl", p.PURL}}
		}
		switch {
		case strings.HasPrefix(p.URI, "https://"):
			e.DownloadLocation = p.URI
		case p.URI != "": // an alias, which no downloader knows
			e.SourceInfo = "fetched as " + p.URI
		}
		b.all = append(b.all, e)
		ids = append(ids, e.ID)
	}
	return ids
}

// id returns the identifier of an element.
func (b *builder) id(role, name string) string {
	return b.unused("SPDXRef-" + role + "-" + word(name))
}

// unused returns an identifier that begins as given and is not used yet.
func (b *builder) unused(base string) string {
	id := base
	for n := 2; b.used[id]; n++ {
		id = base + "." + strconv.Itoa(n)
	}
	b.used[id] = true
	return id
}

// word returns a name with hyphens for what identifiers must not have.
func word(name string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 && isWord(byte(r)) || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, name)
}

// relate adds a relationship from each of one list to each of the other.
func (b *builder) relate(from []string, kind string, to []string) {
	for _, f := range from {
		for _, t := range to {
			b.relations = append(b.relations, relationship{f, kind, t})
		}
	}
}
