package compat

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"sort"
	"strings"
	"sync"
)

// Result is a case's outcome; no Diffs means that the answers are the same.
type Result struct {
	Case  *Case
	Diffs []string
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

// Table prints how many cases of each area and kind have the same answer, and returns both sums.
func Table(out io.Writer, results []Result) (same, all int) {
	type row struct{ same, all int }
	rows := map[string]*row{}
	for _, r := range results {
		for _, name := range []string{r.Case.Area(), r.Case.Area() + "/" + r.Case.Kind()} {
			if rows[name] == nil {
				rows[name] = &row{}
			}
			rows[name].all++
			if len(r.Diffs) == 0 {
				rows[name].same++
			}
		}
	}
	names := make([]string, 0, len(rows))
	for n := range rows {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		r := rows[n]
		fmt.Fprintf(out, "%-56s %5d/%-5d %6.1f%%\n", n, r.same, r.all, 100*float64(r.same)/float64(r.all))
		if !strings.Contains(n, "/") {
			same, all = same+r.same, all+r.all
		}
	}
	fmt.Fprintf(out, "%-56s %5d/%-5d %6.1f%%\n", "all", same, all, 100*float64(same)/float64(max(all, 1)))
	return same, all
}
