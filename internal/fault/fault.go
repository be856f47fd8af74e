// Package fault holds the error vocabulary of the project. Each kind is mapped
// once to an exit code and once to an HTTP status; an error says what is wrong,
// where (file and line), and what to do about it.
package fault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// A Kind says what sort of thing went wrong.
type Kind string

// The kinds of error.
const (
	Failed      Kind = "failed"      // the work itself failed: a step, a test, a comparison
	Invalid     Kind = "invalid"     // the input is wrong: a definition, an archive, a flag
	NotFound    Kind = "not found"   // something named does not exist
	Conflict    Kind = "conflict"    // it contradicts what is there already
	Denied      Kind = "denied"      // a signature, key or permission does not hold
	Unavailable Kind = "unavailable" // something outside does not answer; trying again may help
	Policy      Kind = "policy"      // it works, but a rule forbids it
	Internal    Kind = "internal"    // a fault of this program
)

// An Error is an error with a kind, a place and a remedy.
type Error struct {
	Kind   Kind
	File   string // the file or address at fault, "" if none
	Line   int    // 1-based, 0 if unknown
	What   string // what is wrong, lower case, no period
	Remedy string // what to do about it, "" if nothing sensible can be said
	Err    error  // the cause, may be nil
}

// New returns an error of a kind with a formatted message. An error among the
// arguments formatted with %w becomes its cause.
func New(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, What: err.Error(), Err: errors.Unwrap(err)}
}

// At sets the file and line and returns e.
func (e *Error) At(file string, line int) *Error {
	e.File, e.Line = file, line
	return e
}

// Fix sets the remedy and returns e.
func (e *Error) Fix(format string, args ...any) *Error {
	e.Remedy = fmt.Sprintf(format, args...)
	return e
}

// Error returns "file:line: what (remedy)".
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ":%d", e.Line)
		}
		b.WriteString(": ")
	}
	b.WriteString(e.What)
	if e.Remedy != "" {
		fmt.Fprintf(&b, " (%s)", e.Remedy)
	}
	return b.String()
}

// Within returns err with words before its message; place, remedy and kind stay.
func Within(err error, format string, args ...any) *Error {
	prefix := fmt.Sprintf(format, args...) + ": "
	var e *Error
	if !errors.As(err, &e) {
		return New(KindOf(err), "%s%w", prefix, err)
	}
	longer := *e
	longer.What = prefix + e.What
	return &longer
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the outermost Error in err's chain. A cancelled or
// timed-out context is Unavailable, anything else Internal.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Unavailable
	}
	return Internal
}

// Is reports whether err is of the given kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }

var codes = map[Kind]struct{ exit, status int }{
	Failed:      {1, http.StatusUnprocessableEntity},
	Invalid:     {2, http.StatusBadRequest},
	NotFound:    {3, http.StatusNotFound},
	Conflict:    {4, http.StatusConflict},
	Denied:      {5, http.StatusForbidden},
	Unavailable: {6, http.StatusServiceUnavailable},
	Policy:      {7, http.StatusForbidden},
	Internal:    {70, http.StatusInternalServerError},
}

// ExitCode returns the exit code of the program for err: 0 for nil, 130 for an
// interrupt, else that of the kind (failed 1, invalid 2, not found 3, conflict
// 4, denied 5, unavailable 6, policy 7, internal 70).
func ExitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		return 130
	}
	return codes[KindOf(err)].exit
}

// HTTPStatus returns the HTTP status for err, 200 for nil.
func HTTPStatus(err error) int {
	if err == nil {
		return http.StatusOK
	}
	return codes[KindOf(err)].status
}
