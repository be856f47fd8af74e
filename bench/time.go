package main

import (
	"fmt"
	"slices"
	"time"
)

// times are repeated measurements of one thing.
type times []time.Duration

// add appends how long f took; a call that fails is no measurement.
func (t *times) add(f func() error) error {
	begun := time.Now()
	if err := f(); err != nil {
		return err
	}
	*t = append(*t, time.Since(begun))
	return nil
}

// median returns the middle one, the mean of the two middle ones of an even
// number, and 0 of none.
func (t times) median() time.Duration {
	s := slices.Sorted(slices.Values(t))
	n := len(s)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

// String returns the median with the fastest and the slowest, "1.20 s (1.10–1.42)".
func (t times) String() string {
	if len(t) == 0 {
		return "not measured"
	}
	unit, name := time.Second, "s"
	if t.median() < 100*time.Millisecond {
		unit, name = time.Millisecond, "ms"
	}
	in := func(d time.Duration) string { return fmt.Sprintf("%.3g", float64(d)/float64(unit)) }
	if len(t) == 1 {
		return in(t[0]) + " " + name
	}
	return fmt.Sprintf("%s %s (%s–%s)", in(t.median()), name, in(slices.Min(t)), in(slices.Max(t)))
}

// within returns the row of a time with a limit and no yardstick.
func within(figure string, seen times, limit time.Duration) row {
	return row{Figure: figure, Asked: "≤ " + short(limit), Seen: seen.String(), Met: len(seen) > 0 && seen.median() <= limit}
}

// against returns the row of a time that may be at most max times that of the
// yardstick, which ran in turns with it.
func against(figure string, seen, yardstick times, max float64, what string) row {
	r := seen.ratio(yardstick)
	return row{
		Figure: figure, Asked: fmt.Sprintf("≤ %g ×", max), Seen: seen.String(), Yardstick: what + ": " + yardstick.String(),
		Ratio: fmt.Sprintf("%.3g", r), Met: r > 0 && r <= max,
	}
}

// ratio returns the median of the ratios of each run to that of the yardstick
// beside it, so that a machine that slows down for a while does no harm. It is 0
// if they did not run in turns.
func (t times) ratio(yardstick times) float64 {
	if len(t) == 0 || len(t) != len(yardstick) {
		return 0
	}
	each := make([]float64, len(t))
	for i := range t {
		each[i] = float64(t[i]) / float64(yardstick[i])
	}
	slices.Sort(each)
	n := len(each)
	return (each[(n-1)/2] + each[n/2]) / 2
}

// short writes a limit as "0.5 s" or "100 ms".
func short(d time.Duration) string {
	if d < 500*time.Millisecond {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%g s", d.Seconds())
}
