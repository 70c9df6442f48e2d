package registry

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// encodedLabels are labels as they stand in an encoded object.
func (f testForm) encodedLabels(t *testing.T, set map[string]string) labels.Labels {
	t.Helper()
	info := f.kinds()[0]
	return must(newLayout(info, info).write(info.Key("a", "x"), f.configMap("a", "x", set)))(t).labels()
}

// TestLongSelectors compares the matchers of long selectors with the library's, over random selectors and objects.
func TestLongSelectors(t *testing.T) {
	matched := 0
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 3))
		keys := 1 + r.IntN(6)
		key := func() string { return fmt.Sprint("k", r.IntN(keys)) }
		value := func() string { return []string{"", "1", "2", "3", "x", "y"}[r.IntN(6)] }
		set := map[string]string{}
		for range r.IntN(6) {
			set[key()] = value()
		}
		var terms []string
		kinds := []int{r.IntN(9), r.IntN(9), r.IntN(9)}
		for range fewRequirements/2 + r.IntN(fewRequirements) {
			k := key()
			switch kinds[r.IntN(len(kinds))] {
			case 0, 1:
				terms = append(terms, fmt.Sprintf("%s in (%s,%s,%s,%s)", k, value(), value(), value(), value()))
			case 2:
				terms = append(terms, fmt.Sprintf("%s notin (%s,%s)", k, value(), value()))
			case 3:
				terms = append(terms, k+"!="+value())
			case 4:
				terms = append(terms, "!absent"+k)
			case 5:
				terms = append(terms, k)
			case 6:
				terms = append(terms, fmt.Sprintf("%s>%d", k, r.IntN(3)))
			case 7:
				terms = append(terms, fmt.Sprintf("%s<%d", k, 1+r.IntN(4)))
			case 8:
				terms = append(terms, "!"+k)
			}
		}
		s, err := labels.Parse(strings.Join(terms, ","))
		if err != nil {
			t.Fatal(err)
		}
		want := s.Matches(labels.Set(set))
		for _, have := range []labels.Labels{labels.Set(set), generated.encodedLabels(t, set), trees.encodedLabels(t, set)} {
			if got := matchLabels(s).Matches(have); got != want {
				t.Fatalf("seed %d: %v is selected: %v, and not as %s says", seed, set, got, s)
			}
		}
		if want {
			matched++
		}
		terms = terms[:0]
		for range fewRequirements + 1 + r.IntN(3) {
			terms = append(terms, key()+[]string{"=", "!=", "!=", "!=", "!="}[r.IntN(5)]+value())
		}
		f, err := fields.ParseSelector(strings.Join(terms, ","))
		if err != nil {
			t.Fatal(err)
		}
		want = f.Matches(fields.Set(set))
		if got := matchFields(f).Matches(fields.Set(set)); got != want {
			t.Fatalf("seed %d: %v is selected: %v, and not as %s says", seed, set, got, f)
		}
		if want {
			matched++
		}
	}
	if matched < 100 {
		t.Errorf("only %d selectors selected anything", matched)
	}
}

// TestCostOfSelectors judges an object by selectors that are as long as is allowed: that takes no longer than with short ones.
func TestCostOfSelectors(t *testing.T) { forEachForm(t, testCostOfSelectors) }

func testCostOfSelectors(t *testing.T, form testForm) {
	have := form.encodedLabels(t, map[string]string{"app": "web", "tier": "front"})
	terms := func(format string) string {
		var all []string
		for n := range 6000 {
			all = append(all, fmt.Sprintf(format, n))
		}
		return strings.Join(all, ",")
	}
	for _, text := range []string{terms("!k%d"), terms("app!=v%d"), "app notin (" + terms("w%d") + ")", "app in (" + terms("v%d") + ")"} {
		s, err := labels.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		m := matchLabels(s)
		if quick, slow := least(func() { m.Matches(have) }), least(func() { s.Matches(labels.Set{"app": "web", "tier": "front"}) }); quick > slow/5 {
			t.Errorf("%.30s takes %s for each object, and the library %s", text, quick, slow)
		}
	}
	f, err := fields.ParseSelector(terms("metadata.name!=%d"))
	if err != nil {
		t.Fatal(err)
	}
	m := matchFields(f)
	name := fields.Set{"metadata.name": "x"}
	if quick, slow := least(func() { m.Matches(name) }), least(func() { f.Matches(name) }); quick > slow/5 {
		t.Errorf("a long field selector takes %s for each object, and the library %s", quick, slow)
	}
}

// least is the shortest time that f takes.
func least(f func()) time.Duration {
	shortest := time.Hour
	for range 100 {
		begun := time.Now()
		f()
		shortest = min(shortest, time.Since(begun))
	}
	return shortest
}
