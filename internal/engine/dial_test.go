package engine_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// TestDial puts a TLS door in front of a child and goes through it.
func TestDial(t *testing.T) {
	b := shared.get(t)
	socket := filepath.Join(b.cfg.StateDir, "engine", "engine.sock")
	ca, stranger := newAuthority(t), newAuthority(t)
	addr := tlsDoor(t, ca, socket)
	cert, key := ca.issue(t, "client")
	strangerCert, strangerKey := stranger.issue(t, "client")
	for name, test := range map[string]struct {
		addr string
		tls  engine.TLS
		want fault.Kind // "" for success
	}{
		"mutual TLS":     {"tcp://" + addr, engine.TLS{CA: ca.file, Cert: cert, Key: key, ServerName: "builder"}, ""},
		"socket":         {"unix://" + socket, engine.TLS{}, ""},
		"wrong name":     {"tcp://" + addr, engine.TLS{CA: ca.file, Cert: cert, Key: key, ServerName: "other"}, fault.Unavailable},
		"stranger":       {"tcp://" + addr, engine.TLS{CA: ca.file, Cert: strangerCert, Key: strangerKey, ServerName: "builder"}, fault.Unavailable},
		"wrong CA":       {"tcp://" + addr, engine.TLS{CA: stranger.file, Cert: cert, Key: key, ServerName: "builder"}, fault.Unavailable},
		"no certificate": {"tcp://" + addr, engine.TLS{CA: ca.file}, fault.Invalid},
		"no such file":   {"tcp://" + addr, engine.TLS{CA: "/absent", Cert: cert, Key: key}, fault.Invalid},
		"no TLS":         {"tcp://" + addr, engine.TLS{}, fault.Invalid},
		"other scheme":   {"http://" + addr, engine.TLS{}, fault.Invalid},
		"nobody":         {"unix:///absent.sock", engine.TLS{}, fault.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := engine.Dial(t.Context(), test.addr, test.tls)
			if test.want != "" {
				if !fault.Is(err, test.want) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, st := b.step("nothing")
			if err := c.Solve(t.Context(), st, engine.Request{Blobs: b.store}); err != nil {
				t.Error(err)
			}
		})
	}
}

// An authority signs certificates for a test.
type authority struct {
	file string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := authority{filepath.Join(t.TempDir(), "ca.pem"), cert, key}
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

// issue returns the files of a certificate for name, and of its key.
func (a authority) issue(t *testing.T, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, form, a.cert, &k.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, cert, "CERTIFICATE", der)
	writePEM(t, key, "EC PRIVATE KEY", private)
	return cert, key
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tlsDoor listens on loopback, wants certificates of the authority, and passes
// everything to the socket.
func tlsDoor(t *testing.T, a authority, socket string) string {
	t.Helper()
	certFile, keyFile := a.issue(t, "builder")
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			go pass(in, socket)
		}
	}()
	return listener.Addr().String()
}

func pass(in net.Conn, socket string) {
	defer in.Close()
	out, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer out.Close()
	go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
	_, _ = io.Copy(in, out)
}
