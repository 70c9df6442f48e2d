package reconcile

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile/reconciletest"
)

// TestRandomLives runs controllers whose world does whatever it can: objects change while their keys are at work, views are late or begin
// anew, kinds go, come back and are replaced, runs fail, panic and are cut off, answers are lost, deletions are shown late, and terms end
// in the middle. In the end, all calms down; see life.check for what must hold then, and life.reconcile for what must hold at each run.
func TestRandomLives(t *testing.T) {
	for seed := range uint64(150) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { newLife(t, seed).live() })
		})
	}
}

// life is one world with one controller at a time. Secrets are followed all the time; config maps are of a kind that comes and goes.
type life struct {
	*testing.T
	*clienttest.Server
	kinds   reconciletest.Kinds
	maps    *kind.Kind // as they are defined at the moment
	secrets *kind.Kind
	pace    Pace

	mu     sync.Mutex // guards all below
	random *rand.Rand
	calm   bool
	serial int
	term   int
	keys   map[string]*keyLife // by what their keys say of themselves, in this term
	caught int                 // counts answers of the store that all has been seen
	asked  int                 // counts questions
}

// keyLife is what is known of one key in a term.
type keyLife struct {
	running bool
	saw     string // the version that its last run saw, "" if it saw nothing
	owed    bool   // its last run asked for another
	lost    int    // the number of the last question that had begun when its last run lost an answer; -1 if it lost none
	deleted types.UID
}

func newLife(t *testing.T, seed uint64) *life {
	l := &life{T: t, Server: &clienttest.Server{}, maps: api.Of[*corev1.ConfigMap](), secrets: api.Of[*corev1.Secret](), random: rand.New(rand.NewPCG(seed, 1)), keys: map[string]*keyLife{}}
	l.Answer, l.Catch = l.answer, l.catch
	l.kinds.Set(l.maps)
	if seed%3 == 0 {
		l.pace = Pace{Burst: 2, Interval: 50 * time.Millisecond}
	}
	return l
}

// chance is true once in n times, and never when all is calm.
func (l *life) chance(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.calm && l.random.IntN(n) == 0
}

func (l *life) pick(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.random.IntN(n)
}

func (l *life) pause(most time.Duration) { time.Sleep(time.Duration(l.pick(int(most)))) }

func (l *life) live() {
	for range 1 + l.pick(4) {
		l.liveTerm(false)
	}
	l.liveTerm(true)
}

// liveTerm runs a controller while the world changes. Only the last term is left to finish its work.
func (l *life) liveTerm(last bool) {
	l.mu.Lock()
	l.term++
	l.keys = map[string]*keyLife{}
	l.mu.Unlock()
	b := NewBuilder("test-controller", l)
	b.Kinds = &l.kinds
	c, err := b.Make(l.declare)
	if err != nil {
		l.Fatal(err)
	}
	ctx, cancel := context.WithCancel(l.Context())
	ended := make(chan error)
	go func() { ended <- c.Run(ctx) }()
	for range 20 + l.pick(60) {
		l.step()
	}
	if last {
		l.settle()
	}
	cancel()
	if err := <-ended; err != nil {
		l.Error(err)
	}
	l.mu.Lock()
	l.term++ // whoever runs now runs after the end
	l.mu.Unlock()
	if !last {
		l.pause(time.Minute)
	}
}

// step is one thing that happens in the world.
func (l *life) step() {
	k := l.secrets
	if l.pick(2) == 0 {
		k = l.maps
	}
	name := string(rune('a' + l.pick(4)))
	switch l.pick(12) {
	case 0, 1, 2, 3:
		l.put(k, name)
	case 4:
		l.Remove(k, "ns", name)
	case 5:
		l.Hold(k)
	case 6:
		l.Release(k)
	case 7:
		l.Restart(k)
	case 8:
		l.shift()
	case 9:
		l.pause(time.Second)
	default:
		l.pause(5 * time.Millisecond)
	}
}

// shift takes the kind of config maps away, brings it back, or replaces its definition by another one, told or untold.
func (l *life) shift() {
	switch l.pick(4) {
	case 0:
		l.kinds.Set()
	case 1:
		l.kinds.Slip()
		l.kinds.Set(l.maps)
	case 2:
		replaced := *l.maps
		for o := range l.View(l.maps).All("") {
			l.Put(&replaced, o)
		}
		l.maps = &replaced
		l.kinds.Set(l.maps)
	default:
		l.kinds.Set(l.maps)
	}
}

// put makes an object, or a new version of it.
func (l *life) put(k *kind.Kind, name string) {
	l.mu.Lock()
	l.serial++
	version := strconv.Itoa(l.serial)
	l.mu.Unlock()
	uid := types.UID("uid " + version)
	if have, there := l.View(k).Get("ns", name); there {
		uid = have.GetUID()
	}
	m := metav1.ObjectMeta{Namespace: "ns", Name: name, UID: uid, ResourceVersion: version}
	if k == l.secrets {
		l.Put(k, &corev1.Secret{ObjectMeta: m})
	} else {
		l.Put(k, &corev1.ConfigMap{ObjectMeta: m})
	}
}

func (l *life) declare(b *Builder) *Controller {
	secrets := Watch[*corev1.Secret](b, Own, Writes(kind.Create, kind.Delete))
	views := WatchKinds(b, everything, func(k *kind.Kind) Keys {
		return func(d client.Delta, enqueue func(Key)) {
			Own(d, func(key Key) { key.Kind = k; enqueue(key) })
		}
	}, Writes(kind.Create))
	l.mu.Lock()
	term := l.term
	l.mu.Unlock()
	return &Controller{Workers: 3, Pace: l.pace, Reconcile: func(ctx context.Context, key Key) (Result, error) {
		var view client.View = secrets.Live.View
		if key.Kind != nil {
			one := views.Now().Of(key.Kind)
			if one == nil {
				l.end(l.begin(term, key, "", ""))
				return Result{}, nil
			}
			view = one
		}
		return l.reconcile(ctx, term, key, view, secrets)
	}}
}

func (l *life) reconcile(ctx context.Context, term int, key Key, view client.View, secrets Objects[*corev1.Secret]) (Result, error) {
	saw, uid := "", types.UID("")
	if o, there := view.Get(key.Namespace, key.Name); there {
		saw, uid = o.GetResourceVersion(), o.GetUID()
	}
	own := l.begin(term, key, saw, uid)
	defer l.end(own)
	for l.chance(2) {
		l.pause(10 * time.Millisecond) // the world goes on meanwhile, and the term may end
	}
	if l.chance(4) {
		_, _ = secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: "new"}})
		l.mu.Lock()
		own.lost = l.asked
		l.mu.Unlock()
	}
	if key.Kind == nil && uid != "" && l.chance(8) {
		if err := secrets.Delete(ctx, key.Namespace, key.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}); err == nil {
			l.mu.Lock()
			own.deleted = uid
			l.mu.Unlock()
		}
	}
	return l.outcome(own)
}

// begin checks what must hold whenever a key runs.
func (l *life) begin(term int, key Key, saw string, uid types.UID) *keyLife {
	l.mu.Lock()
	defer l.mu.Unlock()
	if term != l.term {
		l.Errorf("%s runs after the end", key)
	}
	name := keyName(key)
	own := l.keys[name]
	if own == nil {
		own = &keyLife{lost: -1}
		l.keys[name] = own
	}
	if own.running {
		l.Errorf("%s runs twice at once", key)
	}
	if own.lost >= l.caught {
		l.Errorf("%s runs before it is known what has become of its last write", key)
	}
	if own.deleted != "" && own.deleted == uid {
		l.Errorf("%s runs on an object that it deleted", key)
	}
	own.running, own.saw, own.owed, own.lost = true, saw, false, -1
	return own
}

func (l *life) end(own *keyLife) {
	l.mu.Lock()
	defer l.mu.Unlock()
	own.running = false
}

// keyName tells keys of one name apart, whose kind was replaced in between.
func keyName(key Key) string { return fmt.Sprintf("%p %s/%s", key.Kind, key.Namespace, key.Name) }

// outcome is how a run ends.
func (l *life) outcome(own *keyLife) (Result, error) {
	owe := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		own.owed = true
	}
	switch {
	case l.chance(4):
		owe()
		return Result{}, errors.New("out of luck")
	case l.chance(8):
		owe()
		panic("out of order")
	case l.chance(8):
		owe()
		return Result{Again: true}, nil
	case l.chance(8):
		owe()
		return Result{After: time.Minute}, nil
	}
	return Result{}, nil
}

// answer loses every creation, and carries out a deletion that is shown late.
func (l *life) answer(_ context.Context, r client.Request) (runtime.Object, error) {
	if r.Verb == kind.Create {
		return nil, errors.New("the connection was lost")
	}
	if o, there := l.View(r.Kind).Get(r.Namespace, r.Name); there && o.GetUID() == *r.Delete.Preconditions.UID {
		uid := o.GetUID()
		late := time.Duration(l.pick(int(time.Second)))
		go func() {
			time.Sleep(late)
			if o, there := l.View(r.Kind).Get(r.Namespace, r.Name); there && o.GetUID() == uid {
				l.Remove(r.Kind, r.Namespace, r.Name)
			}
		}()
	}
	return &metav1.Status{}, nil
}

// catch answers some questions, and no others.
func (l *life) catch(ctx context.Context) error {
	l.mu.Lock()
	l.asked++
	asked := l.asked
	l.mu.Unlock()
	l.pause(time.Second)
	if l.chance(3) {
		return errors.New("no leader")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.caught = max(l.caught, asked)
	return ctx.Err()
}

// settle lets the world calm down, and judges what has come of it.
func (l *life) settle() {
	l.mu.Lock()
	l.calm = true
	l.mu.Unlock()
	l.kinds.Set(l.maps)
	l.Release(l.maps)
	l.Release(l.secrets)
	time.Sleep(2 * time.Hour)
	synctest.Wait()
	l.check(l.secrets, nil)
	l.check(l.maps, l.maps)
}

// check: the last run of each object's key saw it as it is; if it is gone, no key believes that it is there; and no key that asked for
// another run is still waiting.
func (l *life) check(k, of *kind.Kind) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := 'a'; name <= 'd'; name++ {
		key := Key{Namespace: "ns", Name: string(name), Kind: of}
		own, now := l.keys[keyName(key)], ""
		if o, there := l.View(k).Get(key.Namespace, key.Name); there {
			now = o.GetResourceVersion()
		}
		switch {
		case own == nil && now != "":
			l.Errorf("%s never ran", key)
		case own != nil && own.saw != now && (now != "" || of == nil):
			l.Errorf("%s last saw version %q, and is at %q", key, own.saw, now)
		case own != nil && (own.owed || own.running):
			l.Errorf("%s asked for another run, and had none", key)
		}
	}
}

// TestRandomPace: however changes come, a key never runs more often than its pace allows, and no change waits for longer than the pace
// demands.
func TestRandomPace(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 2))
		pace := Pace{Burst: 1 + random.IntN(5), Interval: time.Duration(1+random.IntN(100)) * time.Millisecond}
		now := time.Unix(0, 0)
		p := newPacer(pace)
		p.now = func() time.Time { return now }
		key := Key{Name: "k"}
		var ran []time.Time
		var due time.Time // zero if no run is due
		for range 300 {
			next := now.Add(time.Duration(random.ExpFloat64() * float64(pace.Interval)))
			if !due.IsZero() && !due.After(next) {
				now, due = due, time.Time{}
				p.ran(key)
				ran = append(ran, now)
				continue
			}
			now = next
			wait := max(0, p.wait(key))
			if wait > pace.Interval {
				t.Fatalf("seed %d: a change waits for %v, with an interval of %v", seed, wait, pace.Interval)
			}
			if at := now.Add(wait); due.IsZero() || at.Before(due) {
				due = at
			}
		}
		for first := range ran {
			for last := first; last < len(ran); last++ {
				if most := pace.Burst + int(ran[last].Sub(ran[first])/pace.Interval); last-first+1 > most {
					t.Fatalf("seed %d: %d runs in %v, with %+v", seed, last-first+1, ran[last].Sub(ran[first]), pace)
				}
			}
		}
	}
}
