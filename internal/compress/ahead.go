package compress

import "io"

// chunkSize is how much is read ahead at a time, in bytes.
const chunkSize = 128 << 10

// Ahead returns a reader of what r holds, which a goroutine reads up to about max
// bytes before it is asked for. Close ends that and closes r; it must be called.
func Ahead(r io.ReadCloser, max int) io.ReadCloser {
	n := max/chunkSize + 1
	a := &ahead{src: r, full: make(chan chunk, n), free: make(chan []byte, n), stop: make(chan struct{}), ended: make(chan struct{})}
	go a.fill()
	return a
}

// A chunk is what was read ahead, and the error that ended it.
type chunk struct {
	buffer []byte
	n      int
	err    error
}

type ahead struct {
	src   io.ReadCloser
	full  chan chunk
	free  chan []byte // buffers to be used again
	stop  chan struct{}
	ended chan struct{} // fill no longer touches src

	now  chunk // being handed out
	used int   // of now
}

// fill reads until the end, an error or a stop.
func (a *ahead) fill() {
	defer close(a.ended)
	for {
		var c chunk
		select {
		case c.buffer = <-a.free:
		default:
			c.buffer = make([]byte, chunkSize)
		}
		for c.n < len(c.buffer) && c.err == nil {
			var n int
			n, c.err = a.src.Read(c.buffer[c.n:])
			c.n += n
		}
		select {
		case a.full <- c:
		case <-a.stop:
			return
		}
		if c.err != nil {
			return
		}
	}
}

// Read implements io.Reader.
func (a *ahead) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for a.used == a.now.n {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.now.buffer != nil {
			select {
			case a.free <- a.now.buffer:
			default:
			}
		}
		a.now, a.used = <-a.full, 0
	}
	n := copy(p, a.now.buffer[a.used:a.now.n])
	a.used += n
	return n, nil
}

// Close implements io.Closer. Closing twice does nothing.
func (a *ahead) Close() error {
	if a.stop == nil {
		return nil
	}
	close(a.stop)
	<-a.ended
	a.stop, a.now, a.used = nil, chunk{err: errClosed}, 0
	return a.src.Close()
}
