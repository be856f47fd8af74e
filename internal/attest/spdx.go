package attest

import (
	"encoding/json"
	"path"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/sbom"
)

// spdxNamespace begins the names of SBOM documents.
const spdxNamespace = "https://github.com/ashlar-project/ashlar/spdx"

// spdx returns the SBOM of one binary package: the package, the sources that it was
// generated from, and the patches that were put on them. The build root stands
// in the provenance instead: it is no part of the package.
func (p *preparer) spdx(f ashlar.File) (json.RawMessage, error) {
	pkg := p.set.packages[f.Name]
	distro := p.e.rootDistro
	in := sbom.Input{
		Name: f.Name, Namespace: spdxNamespace, Tool: "ashlar-" + version(p.e.Builder.Version),
		Created: p.e.Result.Finished,
		Packages: []sbom.Package{{
			Name: pkg.name, Version: pkg.version, FileName: f.Name, Digest: f.Digest, PURL: pkg.purl,
			Licenses: p.set.licenses(pkg),
		}},
	}
	for _, b := range p.e.Lock.Inputs.Builds {
		for _, s := range b.Sources {
			if ext := path.Ext(s.Name); ext == ".patch" || ext == ".diff" {
				in.Patches = append(in.Patches, sourcePart(s, distro))
			} else {
				in.Sources = append(in.Sources, sourcePart(s, distro))
			}
		}
	}
	return sbom.SPDX(in)
}

// licenses returns what a package itself, or its copyright file, declares, or that of
// the package of the set whose documentation it shares. Nothing is known of a package
// whose file is not in the machine-readable format.
func (s *verifiedSet) licenses(p builtPackage) sbom.Licenses {
	if p.license != "" {
		return sbom.Licenses{Expression: p.license}
	}
	d := s.documents[p.name]
	if d.copyright == nil {
		d = s.documents[d.of]
	}
	c, err := deb.ParseCopyright(d.copyright)
	if err != nil {
		return sbom.Licenses{}
	}
	return sbom.Licenses{Declared: c.Licenses, Texts: c.Texts}
}

func sourcePart(s ashlar.Source, distro ashlar.Distro) sbom.Package {
	part := sbom.Package{Name: s.Name, Version: s.Version, FileName: s.Name, URI: s.URI, Digest: s.Digest}
	if s.Package != "" {
		part.PURL = purl(sbom.VendorDebian, s.Package, s.Version, "source", distro)
	}
	return part
}

func version(v string) string {
	if v == "" {
		return "devel"
	}
	return v
}

// purl returns the package URL of a Debian package.
func purl(vendor, name, version string, arch ashlar.Arch, distro ashlar.Distro) string {
	return sbom.DebPURL(vendor, name, version, string(arch), string(distro))
}
