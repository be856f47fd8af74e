package attest

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
)

// policyURI names the policies of this form.
const policyURI = "https://github.com/ashlar-project/ashlar/policy/package@v1"

// A Policy says which packages may be published and which are accepted. The zero
// value is the strictest but for the level.
type Policy struct {
	AllowUnauthenticated bool `json:"allowUnauthenticated"` // sources that nobody vouches for
	AllowNetwork         bool `json:"allowNetwork"`         // steps that could reach the network
	AllowUngated         bool `json:"allowUngated"`         // sets that the gate did not try
	MinLevel             int  `json:"minLevel"`             // SLSA build level, 2 or 3
}

// DefaultPolicy returns the policy that holds unless another is configured.
func DefaultPolicy() Policy { return Policy{MinLevel: 2} }

// descriptor names the policy by the digest of its JSON.
func (p Policy) descriptor() intoto.Descriptor {
	raw, err := json.Marshal(p)
	if err != nil {
		panic(err) // a struct of booleans and a number
	}
	return intoto.Descriptor{URI: policyURI, Digest: intoto.SHA256(ashlar.DigestOf(raw))}
}

// CheckPublish returns nil if the policy lets the build be published, else a
// fault.Policy error that names every reason against it.
func (p Policy) CheckPublish(e *Evidence) error {
	var against []string
	for _, c := range p.judge(judged{
		lock: e.Lock, network: e.networkSteps(), test: e.testResult(), level: levelOf(e.Builder.ID),
	}) {
		if !c.OK {
			against = append(against, c.Detail)
		}
	}
	if len(against) == 0 {
		return nil
	}
	return fault.New(fault.Policy, "policy forbids publishing: %s", strings.Join(against, "; ")).
		At(e.Definition.Path, 0).Fix("change the definition; `ashlar publish --help` lists what can be allowed")
}

// judged is what a policy looks at, from evidence or from statements. Level is 0
// where it is not known yet, test nil where there is no statement.
type judged struct {
	lock    *ashlar.Lock
	network []string
	test    *intoto.TestResult
	level   int
}

// judge returns one claim for each rule of the policy.
func (p Policy) judge(j judged) []Claim {
	claims := []Claim{p.sources(j.lock), p.network(j.network)}
	claims = append(claims, p.tests(j.test)...)
	if j.level > 0 {
		claims = append(claims, Claim{
			Claim: fmt.Sprintf("The build is of SLSA level %d or better", p.MinLevel),
			OK:    j.level >= p.MinLevel, Detail: fmt.Sprintf("the build is of level %d", j.level),
		})
	}
	return claims
}

// sources counts how the sources are vouched for.
func (p Policy) sources(lock *ashlar.Lock) Claim {
	c := Claim{Claim: "Somebody vouches for every source", OK: true}
	count := map[ashlar.AnchorKind]int{}
	var bad []string
	for _, b := range lock.Inputs.Builds {
		for _, s := range b.Sources {
			count[s.Anchor.Kind]++
			if unvouched(s) {
				bad = append(bad, s.Name)
			}
		}
	}
	if len(bad) > 0 && !p.AllowUnauthenticated {
		c.OK, c.Detail = false, "unauthenticated source: "+strings.Join(bad, ", ")
		return c
	}
	var parts []string
	for _, k := range []struct {
		kind ashlar.AnchorKind
		text string
	}{
		{ashlar.AnchoredByIndex, "by a signed index of the distribution"},
		{ashlar.AnchoredBySignature, "by an OpenPGP signature"},
		{ashlar.AnchoredByChecksum, "by a checksum in the definition"},
		{ashlar.AnchoredByCommit, "by a commit id in the definition"},
		{ashlar.AnchoredLocally, "beside the definition"},
		{ashlar.Unauthenticated, "by nobody, which the policy allows"},
	} {
		if n := count[k.kind]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, k.text))
		}
	}
	c.Detail = strings.Join(parts, ", ")
	return c
}

// unvouched reports whether nothing vouches for a source, or something that this
// program does not know.
func unvouched(s ashlar.Source) bool {
	switch s.Anchor.Kind {
	case ashlar.AnchoredByIndex, ashlar.AnchoredBySignature:
		return len(s.Anchor.Signers) == 0
	case ashlar.AnchoredByChecksum, ashlar.AnchoredByCommit, ashlar.AnchoredLocally:
		return false
	}
	return true
}

func (p Policy) network(steps []string) Claim {
	c := Claim{Claim: "No step of the build could reach the network", OK: true}
	if len(steps) == 0 {
		return c
	}
	c.Claim, c.OK = "Steps could reach the network only where the policy allows it", p.AllowNetwork
	c.Detail = "with network: " + strings.Join(steps, ", ")
	return c
}

// tests judges the package's own tests and the gate.
func (p Policy) tests(t *intoto.TestResult) []Claim {
	if t == nil {
		return []Claim{{Claim: "The package was tested", OK: p.AllowUngated, Detail: "there is no signed test result"}}
	}
	own := Claim{Claim: "The package's own tests did not fail", OK: true}
	gate := Claim{Claim: "The package set installs and upgrades", OK: true}
	passed, untried := 0, ""
	for _, name := range t.PassedTests {
		if strings.HasPrefix(name, testGate) {
			passed++
		} else {
			own.Detail = name
		}
	}
	for _, name := range t.WarnedTests {
		if check, is := strings.CutPrefix(name, testGate); is {
			untried += "; " + check
		} else {
			own.Detail = name
		}
	}
	gate.Detail = fmt.Sprintf("%d checks passed", passed) + untried
	if passed == 0 {
		gate.OK, gate.Detail = p.AllowUngated, "the gate did not run"
	}
	for _, name := range t.FailedTests {
		if strings.HasPrefix(name, testGate) {
			gate.OK, gate.Detail = false, name
		} else {
			own.OK, own.Detail = false, name
		}
	}
	if t.Result == intoto.TestFailed && own.OK && gate.OK {
		own.OK, own.Detail = false, "the result is "+t.Result
	}
	return []Claim{own, gate}
}
