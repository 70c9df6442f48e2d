// Package stagetest is the world of one controller in a test that is text: a server that the text fills, keeps from answering, and shows late,
// and a clock that the text moves.
package stagetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

// Controller is the one that plays.
type Controller struct {
	Name string
	New  func(*reconcile.Builder) *reconcile.Controller
	// Options are made for each scenario.
	Options func() []any
}

// Run plays scenarios with a controller. Objects are one line of YAML; what they leave out of uid and resourceVersion is filled in
// ("uid-NAME"). Commands, each of which answers with the requests that it has brought about, sorted:
//
//	put {yaml}            an object is there from now on, or changed
//	stored {yaml}         it is there, and the view does not show it yet
//	remove secrets n/a    it is gone
//	forget secrets n/a    the view does not show it (any more), and it is there
//	unreadable secrets n/a  its stored value cannot be read, and the view does not show it
//	refuse delete secrets conflict
//	                      requests of a verb on a kind fail from now on: conflict, notfound, forbidden, exists, invalid, terminating, lost (nobody knows
//	                      whether it was done); "no" ends it
//	start                 the controller begins
//	wait 1m               time passes
func Run(t *testing.T, pattern string, rewrite scenario.Rewrite, c Controller) {
	t.Helper()
	scenario.Run(t, pattern, rewrite, func(t *testing.T) func(string, scenario.Args) string {
		type question struct {
			command string
			args    scenario.Args
		}
		questions, answers, ended := make(chan question), make(chan string), make(chan struct{})
		go func() {
			defer close(ended)
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, c)
				defer s.end()
				for q := range questions {
					answers <- s.answer(q.command, q.args)
				}
			})
		}()
		t.Cleanup(func() {
			close(questions)
			<-ended
		})
		return func(command string, args scenario.Args) string {
			select {
			case questions <- question{command, args}:
			case <-ended:
				return "the stage has broken down"
			}
			select {
			case text := <-answers:
				return text
			case <-ended:
				return "the stage has broken down"
			}
		}
	})
}

// stage is a server and its one client.
type stage struct {
	*clienttest.Server
	t    *testing.T
	play Controller
	stop context.CancelFunc
	over chan error

	mu       sync.Mutex
	stored   map[string]kind.Object // guarded by mu; by plural, namespace and name
	dark     map[string]bool        // guarded by mu; what of these cannot be read
	refusals map[string]string      // guarded by mu; by verb and plural
	told     []string               // guarded by mu; requests since the last answer
	revision int                    // guarded by mu
}

func newStage(t *testing.T, c Controller) *stage {
	s := &stage{
		Server: &clienttest.Server{}, t: t, play: c, over: make(chan error, 1),
		stored: map[string]kind.Object{}, dark: map[string]bool{}, refusals: map[string]string{},
	}
	s.Server.Answer = s.do
	return s
}

func (s *stage) answer(command string, args scenario.Args) string {
	switch command {
	case "put", "stored":
		s.put(strings.Join(args, " "), command == "put")
	case "remove", "forget", "unreadable":
		s.take(command, args)
	case "refuse":
		s.mu.Lock()
		s.refusals[args[0]+" "+args[1]] = args[2]
		s.mu.Unlock()
	case "start":
		s.start()
	case "wait":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			return err.Error()
		}
		time.Sleep(d)
	default:
		return fmt.Sprintf("no command %q", command)
	}
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	told := s.told
	s.told = nil
	slices.Sort(told)
	return strings.Join(counted(told), "\n")
}

// counted says once what happened more than once.
func counted(lines []string) []string {
	var out []string
	for at := 0; at < len(lines); {
		next := at + 1
		for next < len(lines) && lines[next] == lines[at] {
			next++
		}
		if line := lines[at]; next-at > 1 {
			out = append(out, fmt.Sprintf("%d times: %s", next-at, line))
		} else {
			out = append(out, line)
		}
		at = next
	}
	return out
}

func (s *stage) start() {
	ctx, stop := context.WithCancel(s.t.Context())
	s.stop = stop
	b := reconcile.NewBuilder(s.play.Name, s)
	b.Events = client.NewRecorder(s, "test")
	if s.play.Options != nil {
		b.Options = s.play.Options()
	}
	go b.Events.Run(ctx)
	c, err := b.Make(s.play.New)
	if err != nil {
		s.over <- err
		return
	}
	go func() { s.over <- c.Run(ctx) }()
}

func (s *stage) end() {
	if s.stop == nil {
		return
	}
	s.stop()
	if err := <-s.over; err != nil && !errors.Is(err, context.Canceled) {
		s.t.Error(err)
	}
	synctest.Wait()
}

// put adds an object to the store, and to the view if it is shown.
func (s *stage) put(text string, shown bool) {
	k, o, err := parse(text)
	if err != nil {
		s.t.Error(err)
		return
	}
	if o.GetUID() == "" {
		o.SetUID(uidOf(o.GetName()))
	}
	s.mu.Lock()
	s.writeLocked(k, o)
	s.mu.Unlock()
	if shown {
		s.Put(k, kind.Copy(o))
	}
}

func (s *stage) writeLocked(k *kind.Kind, o kind.Object) {
	s.revision++
	o.SetResourceVersion(fmt.Sprint(s.revision))
	if at := o.GetCreationTimestamp(); at.IsZero() {
		o.SetCreationTimestamp(metav1.NewTime(time.Now()))
	}
	s.stored[place(k, o.GetNamespace(), o.GetName())] = o
}

func (s *stage) take(how string, args scenario.Args) {
	k := byPlural(args[0])
	if k == nil {
		s.t.Errorf("no kind %s", args[0])
		return
	}
	namespace, name := split(args[1])
	s.mu.Lock()
	legible := false
	switch how {
	case "remove":
		delete(s.stored, place(k, namespace, name))
		legible = s.dark[place(k, namespace, name)]
		delete(s.dark, place(k, namespace, name))
	case "unreadable":
		s.dark[place(k, namespace, name)] = true
	}
	s.mu.Unlock()
	switch {
	case legible: // scenarios have one that is not, at a time
		s.Blur(k, nil)
	case how == "unreadable":
		s.Blur(k, unreadable(k, namespace, name))
	}
	s.Remove(k, namespace, name)
}
