package catalog

import (
	"fmt"
	"strings"
)

// oneOf is a remedy for a wrong word: the nearest right one, or some of them.
func oneOf(word string, known []string) string {
	const shown = 20
	switch s := suggest(word, known); {
	case s != "":
		return s
	case len(known) == 0:
		return "none is allowed here"
	case len(known) > shown:
		return fmt.Sprintf("known are %s and %d more", strings.Join(known[:shown], ", "), len(known)-shown)
	}
	return "known are " + strings.Join(known, ", ")
}

// suggest returns the question whether the known name nearest to word is meant,
// or "" if none is near.
func suggest(word string, known []string) string {
	best, distance := "", max(2, len(word)/4)+1
	for _, k := range known {
		d := editDistance(word, k, distance)
		if d >= distance && best == "" && len(word) > 2 && strings.HasPrefix(k, word) {
			d = distance - 1
		}
		if d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// editDistance returns the number of insertions, deletions, replacements and
// swaps of neighbours that turn a into b, or limit if it is not less.
func editDistance(a, b string, limit int) int {
	if abs(len(a)-len(b)) >= limit || len(a) > 256 {
		return limit
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], limit)
}

func abs(n int) int { return max(n, -n) }
