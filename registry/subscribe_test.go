package registry

import (
	"context"
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

func TestSubscribe(t *testing.T) { forEachForm(t, testSubscribe) }

func testSubscribe(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	maps := b.resource(t, "configmaps")
	must(maps.Create(bg, f.configMap("a", "x", nil), CreateOptions{}))(t)
	b.catchUp(t)
	ctx, cancel := context.WithCancel(bg)
	type seen struct {
		text    string
		applied bool
	}
	deltas := make(chan seen, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		maps.Subscribe(ctx, func(all []Delta) {
			for _, d := range all {
				text := "?"
				switch {
				case d.Old == nil:
					text = "+" + d.New.Name()
				case d.New == nil:
					text = "-" + d.Old.Name()
				default:
					text = "=" + d.New.Name()
				}
				i := maps.Peek("a", "x")
				deltas <- seen{text, (i != nil && d.New != nil && i.Revision() >= d.Revision) || (d.New == nil && i == nil)}
			}
		})
	}()
	next := func(want string) {
		t.Helper()
		if got := <-deltas; got.text != want || !got.applied {
			t.Errorf("%+v instead of %s", got, want)
		}
	}
	next("+x")
	if _, _, err := maps.Update(bg, "a", "x", to(func(c kind.Object) { c.SetLabels(map[string]string{"a": "b"}) }), UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	next("=x")
	free(t, maps, "a", "x")
	// free changes nothing before it deletes.
	next("-x")
	cancel()
	<-done
	if len(maps.table.watchers.subscribers) != 0 {
		t.Error("the subscription is left")
	}
}

// A subscriber hears once that there is nothing, so that it knows that it knows everything.
func TestSubscribeToNothing(t *testing.T) { forEachForm(t, testSubscribeToNothing) }

func testSubscribeToNothing(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	ctx, cancel := context.WithCancel(bg)
	done := make(chan struct{})
	told := make(chan int, 10)
	go func() {
		defer close(done)
		b.resource(t, "configmaps").Subscribe(ctx, func(all []Delta) { told <- len(all) })
	}()
	if n := <-told; n != 0 {
		t.Errorf("told of %d objects where there are none", n)
	}
	cancel()
	<-done
	if len(told) != 0 {
		t.Error("told again of nothing")
	}
}
