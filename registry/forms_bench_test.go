package registry

import (
	"fmt"
	"io"
	"runtime"
	"testing"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec/objectjson"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// The same objects in each form, and what it costs to keep and to read them.

func benchEachForm(b *testing.B, bench func(b *testing.B, f testForm)) {
	for _, f := range []testForm{generated, trees} {
		b.Run(f.String(), func(b *testing.B) { bench(b, f) })
	}
}

func (f testForm) commonPod(b *testing.B, name string) kind.Object {
	p := commonPod(name)
	if f == generated {
		return p
	}
	o := &custom.Object{}
	must(o.Decode(must(objectjson.Marshal(p))(b), false))(b)
	return o
}

func fillPods(b *testing.B, f testForm, r *Resource, n int) {
	b.Helper()
	for k := range n {
		must(r.Create(bg, f.commonPod(b, fmt.Sprintf("web-7c5ddbdf54-%06d", k)), CreateOptions{}))(b)
	}
}

func BenchmarkCreate(b *testing.B) {
	benchEachForm(b, func(b *testing.B, f testForm) {
		r := f.start(b, Options{}).resource(b, "pods")
		var pods []kind.Object
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			if n == len(pods) {
				b.StopTimer()
				for range 1000 {
					pods = append(pods, f.commonPod(b, fmt.Sprintf("web-7c5ddbdf54-%07d", len(pods))))
				}
				b.StartTimer()
			}
			must(r.Create(bg, pods[n], CreateOptions{}))(b)
		}
	})
}

func BenchmarkUpdate(b *testing.B) {
	benchEachForm(b, func(b *testing.B, f testForm) {
		s := f.start(b, Options{})
		r := s.resource(b, "pods")
		fillPods(b, f, r, 1000)
		s.catchUp(b)
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			change := to(func(o kind.Object) { o.SetAnnotations(map[string]string{"n": fmt.Sprint(n)}) })
			must(second2(r.Update(bg, "default", fmt.Sprintf("web-7c5ddbdf54-%06d", n%1000), change, UpdateOptions{})))(b)
		}
	})
}

// listed is what a list of 10,000 takes.
func listed(b *testing.B, f testForm, o ListOptions, each func(*Item)) {
	full := f.start(b, Options{})
	fillPods(b, f, full.resource(b, "pods"), 10000)
	r := f.start(b, Options{Store: full.store}).resource(b, "pods")
	b.ReportAllocs()
	for b.Loop() {
		list := must(r.List(bg, o))(b)
		if len(list.Items) != 10000 {
			b.Fatal(len(list.Items))
		}
		for _, i := range list.Items {
			each(i)
		}
	}
}

func BenchmarkListJSON(b *testing.B) {
	benchEachForm(b, func(b *testing.B, f testForm) {
		buf := make([]byte, 0, 64<<10)
		listed(b, f, ListOptions{}, func(i *Item) {
			buf = must(i.AppendJSON(buf[:0]))(b)
			io.Discard.Write(buf)
		})
	})
}

func BenchmarkListLabels(b *testing.B) {
	benchEachForm(b, func(b *testing.B, f testForm) {
		listed(b, f, ListOptions{Label: must(labels.Parse("app=web"))(b)}, func(*Item) {})
	})
}

func BenchmarkListFields(b *testing.B) {
	benchEachForm(b, func(b *testing.B, f testForm) {
		listed(b, f, ListOptions{Field: fieldSelector(b, "status.phase=Pending")}, func(*Item) {})
	})
}

func BenchmarkDecode(b *testing.B) {
	benchEachForm(b, func(b *testing.B, f testForm) {
		r := f.start(b, Options{}).resource(b, "pods")
		i := must(r.Create(bg, f.commonPod(b, "x"), CreateOptions{}))(b)
		b.ReportAllocs()
		for b.Loop() {
			i.at(7).Object()
		}
	})
}

// BenchmarkExamine is what a load does with each value.
func BenchmarkExamine(b *testing.B) {
	benchEachForm(b, func(b *testing.B, f testForm) {
		r := f.start(b, Options{}).resource(b, "pods")
		i := must(r.Create(bg, f.commonPod(b, "x"), CreateOptions{}))(b)
		b.SetBytes(int64(len(i.value.Bytes)))
		b.ReportAllocs()
		for b.Loop() {
			must(r.table.examine(i.key, i.value.Bytes, 7))(b)
		}
	})
}

// BenchmarkLoad starts registries on a store that holds 100,000 objects: with -benchtime 1x it tells what one takes and holds.
func BenchmarkLoad(b *testing.B) {
	const objects = 100_000
	benchEachForm(b, func(b *testing.B, f testForm) {
		full := f.start(b, Options{})
		fillPods(b, f, full.resource(b, "pods"), objects)
		before := held()
		for b.Loop() {
			second := f.start(b, Options{Store: full.store})
			b.StopTimer()
			after := held()
			stored := second.resource(b, "pods").table.bytes
			b.ReportMetric(float64(stored)/objects, "B/stored")
			b.ReportMetric(float64(after-before)/objects, "B/held-besides") // the store in memory shares the values
			b.ReportMetric(float64(after-before+uint64(stored))/float64(stored), "held/stored")
			before = after
			b.StartTimer()
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/objects, "us/object")
	})
}

// held is the memory in use.
func held() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkStray is what a load does with each value of no kind that is served.
func BenchmarkStray(b *testing.B) {
	benchEachForm(b, func(b *testing.B, f testForm) {
		r := f.start(b, Options{}).resource(b, "pods")
		i := must(r.Create(bg, f.commonPod(b, "x"), CreateOptions{}))(b)
		e := &store.Entry{Key: i.key, Value: i.value.Bytes}
		b.ReportAllocs()
		for b.Loop() {
			if one := strayOf(e); one.opaque || len(one.owners) != 1 {
				b.Fatal(one)
			}
		}
	})
}
