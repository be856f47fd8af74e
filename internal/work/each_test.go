package work

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEach(t *testing.T) {
	order := []Ordered{{}, {After: []int{0}}, {After: []int{0}}, {After: []int{1}}, {After: []int{3}}, {}}
	for _, jobs := range []int{1, 2, 9} {
		var mu sync.Mutex
		ended := map[int]bool{}
		var skipped [][2]int
		Each(t.Context(), order, jobs, func(i int) error {
			mu.Lock()
			defer mu.Unlock()
			for _, j := range order[i].After {
				if !ended[j] {
					t.Errorf("%d jobs: %d began before %d had ended", jobs, i, j)
				}
			}
			ended[i] = true
			if i == 1 {
				return errors.New("it cracked")
			}
			return nil
		}, func(i, failed int) { skipped = append(skipped, [2]int{i, failed}) })
		if diff := cmp.Diff([][2]int{{3, 1}, {4, 3}}, skipped); diff != "" {
			t.Errorf("%d jobs: left out (-want +got):\n%s", jobs, diff)
		}
		if len(ended) != 4 {
			t.Errorf("%d jobs: %v ended", jobs, ended)
		}
	}
}

// TestEachInOrder checks that one job at a time takes what there is in order.
func TestEachInOrder(t *testing.T) {
	var got []int
	Each(t.Context(), make([]Ordered, 5), 1, func(i int) error { got = append(got, i); return nil }, nil)
	if !slices.IsSorted(got) || len(got) != 5 {
		t.Errorf("order %v", got)
	}
}

func TestEachStops(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	n := 0
	order := []Ordered{{}, {}, {After: []int{1}}, {After: []int{2}}, {After: []int{0}}}
	Each(ctx, order, 1, func(int) error { n++; stop(); return nil }, nil)
	if n != 1 {
		t.Errorf("%d were begun after the end", n-1)
	}
}
