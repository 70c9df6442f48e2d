// Command bench measures a master as its clients see it and prints one table. Where it can, it sets a figure beside a
// limit of the same machine measured in the same run: etcd without anything around it, a bare HTTPS handler, a copy
// through memory.
//
//	go run ./bench [-run REGEXP] [-binary ./wheelhouse] [-scale 1.0]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"text/tabwriter"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// row is one line of the table.
type row struct {
	what, value string
	// limit is the best that could be had, and share how much of it was reached; empty where there is none.
	limit, share string
}

// scenario is a group of figures that share a master.
type scenario struct {
	name string
	run  func(ctx context.Context, b *bench) error
}

// scenarios in the order of the table.
var scenarios = []scenario{
	{"start", starting},
	{"idle", idle},
	{"create", creating},
	{"get", getting},
	{"list", listing},
	{"watch", watching},
	{"patch", patching},
	{"deployment", deploying},
	{"pods", barePods},
	{"memory", holding},
	{"namespace", removing},
	{"masters", group},
	{"gigabyte", gigabyte},
}

// bench is a run of the command.
type bench struct {
	binary string
	scale  float64
	rows   []row
}

// n scales a count.
func (b *bench) n(count int) int { return max(1, int(float64(count)*b.scale)) }

func (b *bench) add(what, value string) { b.rows = append(b.rows, row{what: what, value: value}) }

// ratio adds a line with the limit beside it; more is better.
func (b *bench) ratio(what string, value, limit float64, unit string) {
	b.rows = append(b.rows, row{what, fmt.Sprintf("%.0f %s", value, unit), fmt.Sprintf("%.0f %s", limit, unit), fmt.Sprintf("%.2f", value/limit)})
}

func main() {
	only := flag.String("run", "", "regular expression of the scenarios to run")
	binary := flag.String("binary", "./wheelhouse", "the wheelhouse binary to measure")
	scale := flag.Float64("scale", 1, "factor for all counts")
	flag.Parse()
	if code, done, err := isolate(*only); done || err != nil {
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			code = 1
		}
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *only, &bench{binary: *binary, scale: *scale}); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// isolate gives the program a network of its own, for the hosts of several masters; what is fetched over the network
// comes before.
func isolate(only string) (int, bool, error) {
	chosen, err := regexp.Compile(only)
	if err != nil {
		return 0, false, err
	}
	if chosen.MatchString("masters") && !process.Isolated() {
		if _, err := process.Tool("etcd"); err != nil {
			return 0, false, err
		}
	}
	return process.Isolate()
}

func run(ctx context.Context, only string, b *bench) error {
	chosen, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	for _, s := range scenarios {
		if !chosen.MatchString(s.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, "bench:", s.name)
		if err := s.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "what\tmeasured\tlimit here\tshare")
	for _, r := range b.rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.what, r.value, r.limit, r.share)
	}
	return w.Flush()
}
