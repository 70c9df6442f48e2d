package compat

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
)

// Result is a case's outcome; no Diffs means that the answers are the same.
type Result struct {
	Case  *Case
	Diffs []string
	// Excuse of the case, if the list of known differences has one.
	Excuse *Excuse
}

// Replay runs the cases with some workers side by side, then those that must run alone.
func Replay(ctx context.Context, client *Client, cases []*Case, workers int) []Result {
	nonce := make([]byte, 4)
	rand.Read(nonce)
	word := hex.EncodeToString(nonce)
	var side, alone []*Case
	for _, c := range cases {
		if c.Serial {
			alone = append(alone, c)
		} else {
			side = append(side, c)
		}
	}
	// Watches wait for the server's time limit: begun first, they wait while others work.
	sort.SliceStable(side, func(i, j int) bool { return slow(side[i]) && !slow(side[j]) })
	results := replay(ctx, client, side, workers, word)
	return append(results, replay(ctx, client, alone, 1, word+"s")...)
}

func slow(c *Case) bool { return c.Dump != nil || c.Request["watch"] != nil }

func replay(ctx context.Context, client *Client, cases []*Case, workers int, word string) []Result {
	results := make([]Result, len(cases))
	next := make(chan int)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			shared, made := fmt.Sprintf("ns-w%d%s", w, word), false
			for i := range next {
				if cases[i].NS == "shared" && !made {
					client.makeNamespace(ctx, shared) // the case shows it if this failed
					made = true
				}
				got := newRun(cases[i], client, word, shared).run(ctx)
				results[i] = Result{Case: cases[i], Diffs: diffs(cases[i].Expect, got, "")}
			}
			if made {
				client.dropNamespace(ctx, shared)
			}
		})
	}
	for i := range cases {
		next <- i
	}
	close(next)
	wg.Wait()
	return results
}

// Row is the outcome of the cases of an area, or of one kind in it.
type Row struct {
	Name string
	// Same have the recorded answer, Other another one. Excused are those of Other that have a reason; Unserved need a
	// kind that is not served, and are in neither.
	Same, Other, Excused, Unserved int
}

func (r *Row) add(result Result) {
	switch e := result.Excuse; {
	case len(result.Diffs) == 0:
		r.Same++
	case e != nil && len(e.Needs) > 0:
		r.Unserved++
	default:
		r.Other++
		if e != nil {
			r.Excused++
		}
	}
}

func (r *Row) print(out io.Writer) {
	judged := r.Same + r.Other
	fmt.Fprintf(out, "%-48s %5d/%-5d %6.1f%% %9d %9d\n", r.Name, r.Same, judged, 100*float64(r.Same)/float64(max(judged, 1)), r.Excused, r.Unserved)
}

// Table prints how many cases of each area and kind have the same answer, and why others do not. It returns the rows
// of the areas.
func Table(out io.Writer, results []Result) []*Row {
	rows, all, reasons := map[string]*Row{}, &Row{Name: "all"}, map[string]int{}
	for _, r := range results {
		for _, name := range []string{r.Case.Area(), r.Case.Area() + "/" + r.Case.Kind()} {
			if rows[name] == nil {
				rows[name] = &Row{Name: name}
			}
			rows[name].add(r)
		}
		all.add(r)
		if len(r.Diffs) > 0 && r.Excuse != nil {
			reasons[r.Excuse.Reason]++
		}
	}
	fmt.Fprintf(out, "%-48s %11s %7s %9s %9s\n", "area/kind", "same", "", "excused", "unserved")
	var areas []*Row
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		rows[name].print(out)
		if !strings.Contains(name, "/") {
			areas = append(areas, rows[name])
		}
	}
	all.print(out)
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		fmt.Fprintf(out, "%5d × %s\n", reasons[reason], reason)
	}
	return areas
}
