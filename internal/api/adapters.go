package api

import (
	"context"
	"io"

	"github.com/functions-worker/functions-worker/internal/packages"
	"github.com/functions-worker/functions-worker/internal/pb"
)

// packageKind is the kind of a component in the words of the package stores.
func packageKind(k Kind) packages.Kind {
	if k == anyKind {
		return packages.AnyKind
	}
	return packages.Kind(kindName(k))
}

// StorePackages makes a PackageStore of a store of internal/packages.
func StorePackages(store packages.Store) PackageStore { return storeAdapter{store} }

type storeAdapter struct{ store packages.Store }

func (a storeAdapter) NewKey(kind Kind, tenant, namespace, name, fileName string) string {
	return a.store.NewKey(packageKind(kind), tenant, namespace, name, fileName)
}

func (a storeAdapter) Put(ctx context.Context, key string, body io.Reader, fileName string, size int64) error {
	return a.store.Put(ctx, key, body, packages.Info{FileName: fileName, Size: size})
}

func (a storeAdapter) Delete(ctx context.Context, key string) error { return a.store.Delete(ctx, key) }

// Opener is the part of packages.Fetcher that answers downloads.
type Opener interface {
	Open(ctx context.Context, loc *pb.PackageLocationMetaData, kind packages.Kind) (io.ReadCloser, string, error)
}

// OpenPackages makes a PackageSource of a fetcher.
func OpenPackages(opener Opener) PackageSource { return openAdapter{opener} }

type openAdapter struct{ opener Opener }

func (a openAdapter) Open(ctx context.Context, kind Kind, loc *pb.PackageLocationMetaData) (io.ReadCloser, error) {
	body, _, err := a.opener.Open(ctx, loc, packageKind(kind))
	return body, err
}
