package serve

import (
	"encoding/json"
	"html/template"
	"net/http"
	"path"
	"time"

	"github.com/ashlar-project/ashlar/internal/apkrepo"
	"github.com/ashlar-project/ashlar/internal/repo"
)

// A suiteHealth is what /healthz says of one suite.
type suiteHealth struct {
	Tier       string    `json:"tier"`
	Suite      string    `json:"suite"`
	Date       time.Time `json:"date"`
	ValidUntil time.Time `json:"validUntil"`
	Problem    string    `json:"problem,omitempty"`
}

// health answers 200 if the InRelease of every suite is signed by the archive
// key and will be valid for a while, else 503, and says which is not.
func (s *server) health(w http.ResponseWriter, r *http.Request) {
	report := struct {
		Status string        `json:"status"`
		Suites []suiteHealth `json:"suites"`
		APK    []apkHealth   `json:"apk,omitempty"`
	}{Status: "ok", Suites: []suiteHealth{}}
	status := http.StatusOK
	list, err := s.Repo.Suites()
	if err != nil {
		s.Log.Error("read the suites", "error", err)
		report.Status, status = "the repository cannot be read", http.StatusServiceUnavailable
	}
	for _, l := range list {
		h := suiteHealth{Tier: string(l.Tier), Suite: l.Suite, Date: l.Date, ValidUntil: l.ValidUntil, Problem: s.problem(l)}
		if h.Problem != "" {
			report.Status, status = "unhealthy", http.StatusServiceUnavailable
		}
		report.Suites = append(report.Suites, h)
	}
	if report.APK, err = s.apkIndexes(); err != nil {
		s.Log.Error("read the repositories for apk", "error", err)
		report.Status, status = "the repositories for apk cannot be read", http.StatusServiceUnavailable
	}
	for _, h := range report.APK {
		if h.Problem != "" {
			report.Status, status = "unhealthy", http.StatusServiceUnavailable
		}
	}
	data, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(append(data, '\n'))
	}
}

// problem says what is wrong with a suite, "" if nothing is.
func (s *server) problem(l repo.Suite) string {
	now := s.Now()
	if l.Err != nil {
		s.Log.Error("read a suite", "tier", l.Tier, "suite", l.Suite, "error", l.Err)
		return "its InRelease cannot be read"
	}
	signed, err := s.root.ReadFile(path.Join("deb", string(l.Tier), "dists", l.Suite, "InRelease"))
	if err != nil {
		return "its InRelease cannot be read"
	}
	if _, _, err := s.ring.VerifyClearSigned(signed, now); err != nil {
		return "its InRelease is not signed by the archive key"
	}
	switch left := l.ValidUntil.Sub(now); {
	case left <= 0:
		return "its InRelease has expired"
	case left < s.Margin:
		return "its InRelease expires soon and was not signed again"
	}
	return ""
}

var page = template.Must(template.New("index").Parse(`<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{{.Origin}} packages</title></head>
<body>
<h1>{{.Origin}} packages</h1>
{{range .Suites}}<h2>{{.Tier}} / {{.Suite}}</h2>
<p>Published {{.Date.Format "2006-01-02 15:04 UTC"}}, valid until {{.ValidUntil.Format "2006-01-02 15:04 UTC"}}, snapshot {{.Snapshot}}.</p>
<pre>curl -fsSo /etc/apt/sources.list.d/{{.Tier}}-{{.Suite}}.sources {{$.Base}}/deb/{{.Tier}}/{{.Suite}}.sources
apt-get update</pre>
{{end}}{{range .APK}}<h2>{{.}}</h2>
<p>Stated {{.Issued.Format "2006-01-02 15:04 UTC"}}, valid until {{.Expires.Format "2006-01-02 15:04 UTC"}}, snapshot {{.Snapshot}}.</p>
<pre>{{range $.APKKeys}}wget -P /etc/apk/keys {{$.Base}}/keys/{{.}}
{{end}}echo {{$.Base}}/apk/{{.Target}} &gt;&gt; /etc/apk/repositories     # or, for packages of v3: v3 {{$.Base}}/apk/{{.Target}}
apk update</pre>
{{end}}{{if not (or .Suites .APK)}}<p>Nothing is published yet.</p>
{{end}}<p>Keys: <a href="{{.Prefix}}/keys/archive.asc">archive.asc</a>{{range $name, $key := .Keys}}, <a href="{{$.Prefix}}/keys/{{$name}}">{{$name}}</a>{{end}}.
State: <a href="{{.Prefix}}/healthz">healthz</a>.</p>
</body>
</html>
`))

// index serves the page that tells people how to use the repository.
func (s *server) index(w http.ResponseWriter, r *http.Request) {
	base, err := s.base(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	list, err := s.Repo.Suites()
	if err != nil {
		s.fail(w, r, openFault(err))
		return
	}
	var indexes []apkrepo.Index
	if s.APK != nil {
		if indexes, err = s.APK.Live(); err != nil {
			s.fail(w, r, openFault(err))
			return
		}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'")
	w.Header().Set("Cache-Control", revalidate)
	w.Header().Set("Vary", "Host")
	if r.Method == http.MethodHead {
		return
	}
	err = page.Execute(w, map[string]any{
		"Origin": s.Repo.Origin(), "Suites": list, "APK": indexes, "APKKeys": s.apkKeys(), "Keys": s.Keys, "Base": base, "Prefix": s.prefix,
	})
	if err != nil {
		s.Log.Error("write the page", "error", err)
	}
}
