package serving_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/serving"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/stagetest"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

var rewrite = scenario.Flag()

// TestScenarios: a controller that says, each time a Service is to be looked at, what is behind it.
func TestScenarios(t *testing.T) {
	stagetest.Run(t, "testdata/*.txt", rewrite, stagetest.Controller{Name: "serving-controller", New: newTeller})
}

type teller struct {
	services reconcile.Objects[*corev1.Service]
	pods     reconcile.Objects[*corev1.Pod]
	maps     reconcile.Objects[*corev1.ConfigMap]
}

func newTeller(b *reconcile.Builder) *reconcile.Controller {
	c := &teller{services: reconcile.Watch[*corev1.Service](b, reconcile.Own)}
	c.pods = reconcile.Watch[*corev1.Pod](b, serving.PodChanged(c.services.Live))
	c.maps = reconcile.Watch[*corev1.ConfigMap](b, nil, reconcile.Writes(kind.Create))
	return &reconcile.Controller{Workers: 1, Reconcile: c.tell}
}

func (c *teller) tell(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	s, ok := c.services.Live.Get(key.Namespace, key.Name)
	if !ok {
		return reconcile.Result{}, nil
	}
	behind := map[string]string{"hidden": "", "headless": fmt.Sprint(serving.IsHeadless(s)), "selects": fmt.Sprint(serving.HasSelector(s))}
	for _, p := range serving.Pods(c.pods.Live, s) {
		behind["pod "+p.Name] = strings.Join(said(s, p), " ")
	}
	hidden := serving.Hidden(c.pods.Live, s.Namespace)
	for _, name := range []string{"dark", "web-1"} {
		if hidden(name) {
			behind["hidden"] += name + " "
		}
	}
	_, err := c.maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, GenerateName: s.Name + "-"}, Data: behind})
	return reconcile.Result{}, err
}

func said(s *corev1.Service, p *corev1.Pod) []string {
	words := []string{"at", serving.Hostname(p, s)}
	if !serving.Reachable(p) {
		words = append(words, "unreachable")
	}
	for i := range s.Spec.Ports {
		if number, ok := serving.Port(p, &s.Spec.Ports[i]); ok {
			words = append(words, fmt.Sprint(s.Spec.Ports[i].Name, "=", number))
		} else {
			words = append(words, s.Spec.Ports[i].Name+" missing")
		}
	}
	return words
}
