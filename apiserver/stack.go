package apiserver

// reserveStack makes the goroutine's stack large enough at once for about what the deepest requests (decoding and judging a
// pod) need. Every HTTP/2 stream is a new goroutine with a small stack, which would otherwise be copied several times, ever
// deeper: that was a tenth of the cost of creating a pod. It is in assembly because a frame of Go's would be cleared.
func reserveStack()
