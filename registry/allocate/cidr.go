package allocate

import (
	"context"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// DefaultServiceCIDR is the name of the ServiceCIDR object that holds the blocks of the server's configuration.
const DefaultServiceCIDR = "kubernetes"

// readyBlocks are the blocks from which addresses of a family may be given. Until the first ServiceCIDR object exists,
// these are the configured ones.
func (s *Services) readyBlocks(family corev1.IPFamily) []block {
	var out []block
	some := false
	for item := range s.blocks.All("") {
		c, ok := item.Object().(*networkingv1.ServiceCIDR)
		if !ok {
			continue
		}
		some = true
		if c.DeletionTimestamp != nil || meta.IsStatusConditionFalse(c.Status.Conditions, networkingv1.ServiceCIDRConditionReady) {
			continue
		}
		for _, text := range c.Spec.CIDRs {
			if p, err := netip.ParsePrefix(text); err == nil {
				out = appendBlock(out, p, family)
			}
		}
	}
	if !some {
		for _, p := range s.cidrs {
			out = appendBlock(out, p, family)
		}
	}
	return out
}

func appendBlock(list []block, p netip.Prefix, family corev1.IPFamily) []block {
	if familyOf(p.Addr()) != family {
		return list
	}
	b, err := newBlock(p)
	if err != nil {
		return list
	}
	return append(list, b)
}

// EnsureDefaultCIDR makes the ServiceCIDR object of the configured blocks, and says that it is ready. An existing one
// gets the second family when the configuration now has two; other differences stay as they are and are logged, because
// services hold addresses of the old blocks.
func (s *Services) EnsureDefaultCIDR(ctx context.Context) error {
	want := make([]string, len(s.cidrs))
	for n, p := range s.cidrs {
		want[n] = p.String()
	}
	item, err := s.blocks.Get(ctx, "", DefaultServiceCIDR, "")
	if apierrors.IsNotFound(err) {
		item, err = s.blocks.Create(ctx, &networkingv1.ServiceCIDR{
			ObjectMeta: metav1.ObjectMeta{Name: DefaultServiceCIDR},
			Spec:       networkingv1.ServiceCIDRSpec{CIDRs: want},
		}, registry.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			item, err = s.blocks.Get(ctx, "", DefaultServiceCIDR, "")
		}
	}
	if err != nil {
		return err
	}
	have := item.Object().(*networkingv1.ServiceCIDR)
	if len(have.Spec.CIDRs) == 1 && len(want) == 2 && have.Spec.CIDRs[0] == want[0] {
		if _, _, err := s.blocks.Update(ctx, "", DefaultServiceCIDR, func(_ context.Context, old kind.Object) (kind.Object, error) {
			c := kind.Copy(old.(*networkingv1.ServiceCIDR))
			c.Spec.CIDRs = want
			return c, nil
		}, registry.UpdateOptions{}); err != nil {
			return err
		}
	} else if !slices.Equal(have.Spec.CIDRs, want) {
		s.log.Warn("the configured service addresses differ from the default ServiceCIDR, which stays as it is",
			"configured", want, "present", have.Spec.CIDRs)
	}
	return s.markReady(ctx)
}

func (s *Services) markReady(ctx context.Context) error {
	_, _, err := s.blocks.Update(ctx, "", DefaultServiceCIDR, func(_ context.Context, old kind.Object) (kind.Object, error) {
		c := kind.Copy(old.(*networkingv1.ServiceCIDR))
		if meta.FindStatusCondition(c.Status.Conditions, networkingv1.ServiceCIDRConditionReady) != nil {
			return c, nil
		}
		meta.SetStatusCondition(&c.Status.Conditions, metav1.Condition{
			Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue,
			Message: "Kubernetes default Service CIDR is ready", LastTransitionTime: metav1.NewTime(s.now()),
		})
		return c, nil
	}, registry.UpdateOptions{Part: "status"})
	return err
}
