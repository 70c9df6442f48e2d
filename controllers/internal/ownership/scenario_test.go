package ownership_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/ownership"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/stagetest"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

var rewrite = scenario.Flag()

// TestScenarios: a controller of ReplicaSets that only claims pods, and says which it has then. A change of a ReplicaSet wakes it, or of the Secret of
// its name.
func TestScenarios(t *testing.T) {
	stagetest.Run(t, "testdata/*.txt", rewrite, stagetest.Controller{Name: "claiming-controller", New: newClaimer})
}

type claimer struct {
	sets    reconcile.Objects[*appsv1.ReplicaSet]
	pods    reconcile.Objects[*corev1.Pod]
	maps    reconcile.Objects[*corev1.ConfigMap]
	orphans ownership.Orphans
}

func newClaimer(b *reconcile.Builder) *reconcile.Controller {
	c := &claimer{}
	c.sets = reconcile.Watch[*appsv1.ReplicaSet](b, reconcile.Own)
	reconcile.Watch[*corev1.Secret](b, reconcile.Own)
	c.pods = reconcile.Watch[*corev1.Pod](b, func(d client.Delta, _ func(reconcile.Key)) { c.orphans.Note(d) }, reconcile.Writes(kind.Patch))
	c.maps = reconcile.Watch[*corev1.ConfigMap](b, nil, reconcile.Writes(kind.Create))
	return &reconcile.Controller{Workers: 1, Reconcile: c.claim}
}

func (c *claimer) claim(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	set, ok := c.sets.Live.Get(key.Namespace, key.Name)
	if !ok {
		return reconcile.Result{}, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return reconcile.Result{}, err
	}
	candidates := ownership.Candidates(c.pods.Live, &c.orphans, set)
	slices.SortFunc(candidates, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) }) // for the reader
	claim := ownership.Decide(set, selector, candidates)
	owned, err := claim.AdoptAndRelease(ctx, c.pods.Client, set, api.Of[*appsv1.ReplicaSet]().GVK, func(ctx context.Context) (kind.Object, error) {
		return c.sets.Get(ctx, set.Namespace, set.Name)
	})
	var names []string
	for _, p := range owned {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	said := map[string]string{"has": strings.Join(names, " ")}
	if err != nil {
		said["error"] = err.Error()
	}
	_, told := c.maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: set.Namespace, GenerateName: set.Name + "-"}, Data: said})
	return reconcile.Result{}, errors.Join(err, told)
}
