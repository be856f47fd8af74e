package sbom

import "strings"

// Vendors are the namespaces of Debian package URLs: who published the package.
const (
	VendorDebian = "debian" // Debian's own packages: what builds start from
	VendorAshlar = "ashlar" // packages that Ashlar built
)

// ApkPURL returns the package URL of an Alpine package, in the form of DebPURL
// with "pkg:apk/" and Alpine's words for architectures.
func ApkPURL(vendor, name, version, arch, distro string) string {
	return "pkg:apk" + strings.TrimPrefix(DebPURL(vendor, name, version, arch, distro), "pkg:deb")
}

// DebPURL returns the package URL of a Debian package,
// "pkg:deb/VENDOR/NAME@VERSION?arch=ARCH&distro=DISTRO" with what needs it
// percent-encoded: "+" becomes "%2B", the colon of an epoch stays. Arch is
// "source" for a source package. Qualifiers that are "" are left out.
func DebPURL(vendor, name, version, arch, distro string) string {
	var b strings.Builder
	b.WriteString("pkg:deb/" + escape(strings.ToLower(vendor)) + "/" + escape(strings.ToLower(name)))
	if version != "" {
		b.WriteString("@" + escape(version))
	}
	mark := "?"
	for _, q := range [][2]string{{"arch", arch}, {"distro", distro}} { // in the order of their names
		if q[1] != "" {
			b.WriteString(mark + q[0] + "=" + escape(q[1]))
			mark = "&"
		}
	}
	return b.String()
}

// escape percent-encodes everything but letters, digits and "-._~:".
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if isWord(c) || strings.IndexByte("-._~:", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', hex[c>>4], hex[c&15]})
	}
	return b.String()
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
