package simulate

// sink receives a reflector's objects and keeps none of them: the cluster's pods would otherwise be held here once more.
type sink[T any] struct {
	changed, deleted func(T)
	// replaced gets all objects that there are, before changed gets each.
	replaced func([]T)
}

// Add takes a new object.
func (s *sink[T]) Add(o any) error { return s.Update(o) }

// Update takes a changed object.
func (s *sink[T]) Update(o any) error {
	if t, ok := o.(T); ok {
		s.changed(t)
	}
	return nil
}

// Delete takes the last state of an object that is gone.
func (s *sink[T]) Delete(o any) error {
	if t, ok := o.(T); ok {
		s.deleted(t)
	}
	return nil
}

// Replace takes everything that there is, at the start and after a gap.
func (s *sink[T]) Replace(list []any, _ string) error {
	all := make([]T, 0, len(list))
	for _, o := range list {
		if t, ok := o.(T); ok {
			all = append(all, t)
		}
	}
	s.replaced(all)
	for _, t := range all {
		s.changed(t)
	}
	return nil
}

// Resync does nothing: there is nothing to repeat.
func (s *sink[T]) Resync() error { return nil }
