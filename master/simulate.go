package master

import "context"

func (m *Master) simulate(ctx context.Context) error { return nil }
