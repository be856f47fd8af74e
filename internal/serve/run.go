package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// Limits on connections and requests.
const (
	readHeaders  = 10 * time.Second
	readRequest  = 30 * time.Second
	writeDefault = time.Minute // a file gets more, by its size
	idle         = 2 * time.Minute
	maxHeaders   = 16 << 10 // bytes
	maxBody      = 0        // bytes; nothing here takes any
	drain        = 30 * time.Second
)

// A Listener says where to listen. With CertFile and KeyFile (PEM) it speaks
// TLS 1.2 or later.
type Listener struct {
	Addr     string // "host:port"; port 0 takes a free one
	CertFile string
	KeyFile  string
	Log      *slog.Logger
	// Ready, if set, is called with the address once connections are accepted.
	Ready func(net.Addr)
}

// Run serves the handler until ctx ends, then lets running requests finish for up
// to half a minute. It returns nil after such an end.
func (l Listener) Run(ctx context.Context, h http.Handler) error {
	listener, err := l.listen(ctx)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler:           http.MaxBytesHandler(h, maxBody),
		ReadHeaderTimeout: readHeaders,
		ReadTimeout:       readRequest,
		WriteTimeout:      writeDefault,
		IdleTimeout:       idle,
		MaxHeaderBytes:    maxHeaders,
		ErrorLog:          slog.NewLogLogger(l.Log.Handler(), slog.LevelWarn),
	}
	if l.Ready != nil {
		l.Ready(listener.Addr())
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(listener) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := srv.Shutdown(last); err != nil {
		return errors.Join(fault.New(fault.Unavailable, "requests were still running: %w", err), srv.Close())
	}
	return nil
}

func (l Listener) listen(ctx context.Context) (net.Listener, error) {
	if (l.CertFile == "") != (l.KeyFile == "") {
		return nil, fault.New(fault.Invalid, "TLS needs a certificate and a key").Fix("give both files or neither")
	}
	var config *tls.Config
	if l.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(l.CertFile, l.KeyFile)
		if err != nil {
			return nil, fault.New(fault.Invalid, "the TLS certificate and key: %w", err).At(l.CertFile, 0).
				Fix("give PEM files that belong together")
		}
		config = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", l.Addr)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "listen: %w", err).Fix("choose an address that is free")
	}
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	return listener, nil
}

// Resigner signs again what is about to expire, as repo.Repo does.
type Resigner interface {
	Resign(ctx context.Context, now time.Time) ([]string, error)
}

// KeepSigned calls r at every tick with its time, until ctx ends or the ticks do.
// A failure is logged and tried again at the next tick.
func KeepSigned(ctx context.Context, r Resigner, ticks <-chan time.Time, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case now, ok := <-ticks:
			if !ok {
				return
			}
			done, err := r.Resign(ctx, now)
			if err != nil {
				log.Error("sign again", "error", err)
			}
			if len(done) > 0 {
				log.Info("signed again", "suites", done)
			}
		}
	}
}

// A counter notes the status and size of an answer.
type counter struct {
	http.ResponseWriter
	status int
	size   int64
}

// WriteHeader notes the status.
func (c *counter) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

// Write counts the bytes.
func (c *counter) Write(b []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	n, err := c.ResponseWriter.Write(b)
	c.size += int64(n)
	return n, err
}

// ReadFrom counts the bytes and lets the system copy a file to the connection.
func (c *counter) ReadFrom(r io.Reader) (int64, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	n, err := io.Copy(c.ResponseWriter, r)
	c.size += n
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// logged writes one record for every request.
func (s *server) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		c := &counter{ResponseWriter: w}
		defer func() {
			s.Log.Info("request", "method", r.Method, "path", r.URL.Path, "status", c.status, "bytes", c.size,
				"took", time.Since(start).Round(time.Microsecond).String(), "remote", r.RemoteAddr,
				"agent", r.UserAgent(), "range", r.Header.Get("Range"))
		}()
		next.ServeHTTP(c, r)
	})
}
