package garbage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func object(words string) *corev1.ConfigMap {
	o := &corev1.ConfigMap{}
	for _, word := range strings.Fields(words) {
		switch word {
		case "deleting":
			o.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
		case "orphan":
			o.Finalizers = append(o.Finalizers, metav1.FinalizerOrphanDependents)
		case "foreground":
			o.Finalizers = append(o.Finalizers, metav1.FinalizerDeleteDependents)
		default:
			o.OwnerReferences = append(o.OwnerReferences, metav1.OwnerReference{UID: types.UID(word)})
		}
	}
	return o
}

func TestPlan(t *testing.T) {
	states := map[string]ownerState{"solid": solid, "waiting": waiting, "absent": absent, "invalid": invalid}
	for _, c := range []struct{ object, dependents, want string }{
		{"", "", "nothing"},
		{"solid", "", "nothing"},
		{"solid absent", "", "keep [absent]"},
		{"solid waiting absent", "", "keep [waiting absent]"},
		{"invalid", "", "nothing"},
		{"invalid absent", "", "nothing"},
		{"absent invalid solid", "", "nothing"},
		{"waiting invalid", "plain", "nothing"},
		{"absent", "", "remove Background"},
		{"absent orphan", "", "remove Orphan"},
		{"absent foreground", "", "remove Foreground"},
		{"waiting", "", "remove Background"},
		{"waiting", "plain", "remove Foreground"},
		{"waiting", "deleting+foreground", "unblock"},
		{"waiting absent", "", "remove Background"},
		{"absent deleting", "", "nothing"},
		{"deleting foreground", "", "release"},
		{"deleting foreground", "plain", "release"},
		{"deleting foreground", "blocks", "await"},
		{"deleting orphan", "blocks", "orphan"},
		{"deleting orphan foreground", "", "orphan"},
	} {
		o := object(c.object)
		var owners []ownerState
		for _, ref := range o.OwnerReferences {
			owners = append(owners, states[string(ref.UID)])
		}
		p := makePlan(o, owners, func() []dependent {
			var list []dependent
			for _, word := range strings.Fields(c.dependents) {
				d := dependent{object: object(""), blocks: word == "blocks"}
				if strings.Contains(word, "+") {
					d.object = object(strings.ReplaceAll(word, "+", " "))
				}
				list = append(list, d)
			}
			return list
		})
		got := map[verb]string{nothing: "nothing", keep: "keep", unblock: "unblock", remove: "remove", release: "release", await: "await", orphan: "orphan"}[p.verb]
		if p.verb == keep {
			got += fmt.Sprint(" ", p.drop)
		}
		if p.verb == remove {
			got += " " + string(p.policy)
		}
		if got != c.want {
			t.Errorf("%q with dependents %q: %s, want %s", c.object, c.dependents, got, c.want)
		}
	}
}
