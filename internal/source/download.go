package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// progressStep is how many bytes pass between two progress reports.
const progressStep = 1 << 20

var errStalled = errors.New("the server stopped sending")

// A watchdog runs a function when it has not been reset for the time given. A
// time.Timer is one.
type watchdog interface {
	Reset(d time.Duration) bool
	Stop() bool
}

// watch starts the watchdog of a connection.
func (f *Fetcher) watch(bark func()) watchdog {
	if f.watchdog != nil {
		return f.watchdog(bark)
	}
	return time.AfterFunc(f.stall(), bark)
}

// A download reads one address. When the connection breaks it goes on with a
// range request from where it was; the digest of the whole is checked by the
// store in any case.
type download struct {
	f          *Fetcher
	ctx        context.Context
	url, alias string
	req        Request

	body     io.ReadCloser
	conn     context.Context         // of the current connection
	stop     context.CancelCauseFunc // ends the current connection
	watchdog watchdog                // calls stop when the connection is silent
	offset   int64                   // bytes delivered
	total    int64                   // bytes in all, -1 if unknown
	tag      string                  // strong ETag of what is being read
	failed   int                     // connections that failed since the last progress
	safe     int64                   // offset at the last failure
	reported int64
	err      error // what ended the download, for the caller to see
}

// Read delivers the next bytes, reconnecting as the retry rule allows.
func (d *download) Read(b []byte) (int, error) {
	for {
		if d.err != nil {
			return 0, d.err
		}
		if d.body == nil {
			if err := d.open(); err != nil {
				if err = d.again(err); err != nil {
					d.err = err
					return 0, err
				}
				continue
			}
		}
		n, err := d.read(b)
		if err == nil || err == io.EOF {
			return n, err
		}
		d.close()
		if err = d.again(err); err != nil {
			d.err = err
		}
		if n > 0 {
			return n, nil
		}
	}
}

// read takes bytes from the open connection and notices an early end.
func (d *download) read(b []byte) (int, error) {
	d.watchdog.Reset(d.f.stall())
	n, err := d.body.Read(b)
	d.watchdog.Stop()
	d.offset += int64(n)
	if cause := context.Cause(d.conn); cause != nil && d.ctx.Err() == nil {
		err = cause
	}
	if d.offset-d.reported >= progressStep {
		d.reported = d.offset
		d.f.report(Progress{URI: d.alias, Done: d.offset, Total: max(d.total, 0)})
	}
	switch {
	case err == io.EOF && d.total >= 0 && d.offset < d.total:
		return n, fault.New(fault.Unavailable, "the connection ended after %d of %d bytes", d.offset, d.total)
	case err == io.EOF, err == nil:
		return n, err
	}
	return n, fault.New(fault.Unavailable, "the connection broke after %d bytes: %v", d.offset, err)
}

// again decides whether another connection is tried after err: nil means yes,
// after the pause.
func (d *download) again(err error) error {
	if d.ctx.Err() != nil {
		return d.ctx.Err()
	}
	if !fault.Is(err, fault.Unavailable) {
		return err
	}
	if d.offset-d.safe >= progressStep {
		d.failed = 0
	}
	d.safe = d.offset
	if d.failed++; d.failed >= d.f.Retry.attempts() {
		return &final{err}
	}
	if d.offset > 0 && d.req.Digest == "" && d.tag == "" {
		return err // nothing tells whether the rest would be of the same file: start over
	}
	return d.f.Retry.pause(d.ctx, d.failed, err)
}

// open connects, asking for what is still missing.
func (d *download) open() error {
	ctx, cancel := context.WithCancelCause(d.ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		cancel(nil)
		return fault.New(fault.Invalid, "%w", err)
	}
	if d.offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.offset))
		if d.tag != "" {
			req.Header.Set("If-Range", d.tag)
		}
	}
	watchdog := d.f.watch(func() { cancel(errStalled) })
	resp, err := d.f.send(req)
	if err == nil {
		err = d.accept(resp)
	}
	if err != nil {
		watchdog.Stop()
		cancel(nil)
		return err
	}
	watchdog.Stop() // until the next read
	d.body, d.conn, d.stop, d.watchdog = resp.Body, ctx, cancel, watchdog
	return nil
}

// accept checks the answer and brings the body to the offset wanted. It closes
// the body on error.
func (d *download) accept(resp *http.Response) error {
	err := statusFault(resp)
	if err == nil && resp.StatusCode == http.StatusPartialContent {
		err = d.acceptRange(resp)
	} else if err == nil {
		err = d.acceptWhole(resp)
	}
	if err != nil {
		resp.Body.Close()
	}
	return err
}

func (d *download) acceptRange(resp *http.Response) error {
	var from, to int64
	spec := resp.Header.Get("Content-Range")
	if n, _ := fmt.Sscanf(spec, "bytes %d-%d/", &from, &to); n != 2 || from != d.offset || d.offset == 0 {
		return fault.New(fault.Invalid, "the server answered the range %q to a request from byte %d", spec, d.offset)
	}
	return d.setTotal(d.offset, resp.ContentLength)
}

// acceptWhole takes an answer that starts at the first byte and skips what was
// delivered before.
func (d *download) acceptWhole(resp *http.Response) error {
	if err := d.setTotal(0, resp.ContentLength); err != nil {
		return err
	}
	if d.offset == 0 {
		if tag := resp.Header.Get("ETag"); !strings.HasPrefix(tag, "W/") {
			d.tag = tag
		}
		return nil
	}
	if d.req.Digest == "" {
		return fault.New(fault.Unavailable, "the file changed while it was downloaded")
	}
	if _, err := io.CopyN(io.Discard, resp.Body, d.offset); err != nil {
		return fault.New(fault.Unavailable, "the connection broke: %v", err)
	}
	return nil
}

// setTotal notes how long the file is and refuses one of the wrong length before
// it is read.
func (d *download) setTotal(before, length int64) error {
	d.total = -1
	if length < 0 {
		return nil
	}
	d.total = before + length
	if d.req.Size > 0 && d.total != d.req.Size {
		return fault.New(fault.Invalid, "it has %d bytes, wanted %d", d.total, d.req.Size)
	}
	if d.total > d.req.MaxSize {
		return fault.New(fault.Invalid, "it has %d bytes, at most %d are allowed", d.total, d.req.MaxSize)
	}
	return nil
}

func (d *download) close() {
	if d.body != nil {
		d.watchdog.Stop()
		d.stop(nil)
		d.body.Close()
		d.body = nil
	}
}

// send sends a request and gives a transport error its kind, without the
// mirror's address in it.
func (f *Fetcher) send(req *http.Request) (*http.Response, error) {
	req.Header.Set("User-Agent", "ashlar")
	resp, err := f.client().Do(req)
	if err == nil {
		return resp, nil
	}
	var known *fault.Error
	if errors.As(err, &known) {
		return nil, known
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(context.Cause(req.Context()), errStalled) {
		err = errStalled
	}
	return nil, fault.New(fault.Unavailable, "%v", err) // %v: our own time limits are no interrupt of the caller's
}

// statusFault returns the error that the status of an answer means.
func statusFault(resp *http.Response) error {
	code := resp.StatusCode
	what := "the server answered " + strconv.Itoa(code) + " " + http.StatusText(code)
	switch {
	case code == http.StatusOK, code == http.StatusPartialContent:
		return nil
	case code == http.StatusNotFound, code == http.StatusGone, code == http.StatusForbidden:
		return fault.New(fault.NotFound, "%s", what)
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code >= 500:
		return &unavailable{fault.New(fault.Unavailable, "%s", what), retryAfter(resp)}
	case code == http.StatusUnauthorized, code == http.StatusProxyAuthRequired:
		return fault.New(fault.Denied, "%s", what)
	}
	return fault.New(fault.Invalid, "%s", what)
}

// An unavailable error knows how long the server asked to wait.
type unavailable struct {
	err   *fault.Error
	after time.Duration
}

func (e *unavailable) Error() string { return e.err.Error() }
func (e *unavailable) Unwrap() error { return e.err }

func retryAfter(resp *http.Response) time.Duration {
	s, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || s < 0 {
		return 0
	}
	return time.Duration(min(s, 3600)) * time.Second
}
