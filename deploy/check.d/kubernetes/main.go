// Reads manifests as the API server of Kubernetes does when it is asked to be strict: a field that an object does not have, or one
// of another type, is an error. Knows the kinds of Kubernetes itself; those of others are passed over.
//
//	kubernetes FILE...
package main

import (
	"bytes"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
)

func main() {
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	failed := false
	for _, file := range os.Args[1:] {
		text, err := os.ReadFile(file)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for _, document := range bytes.Split(text, []byte("\n---\n")) {
			if len(bytes.TrimSpace(document)) == 0 {
				continue
			}
			_, kind, err := decoder.Decode(document, nil, nil)
			if err != nil && !runtime.IsNotRegisteredError(err) {
				fmt.Fprintf(os.Stderr, "%s: %v: %v\n", file, kind, err)
				failed = true
			}
		}
	}
	if failed {
		os.Exit(1)
	}
}
