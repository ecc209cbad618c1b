/* The updates that benchmarks/updates.py compares with: one pass over memory, by hand, for many tensors.
 *
 * gcc -O3 -march=native -fno-math-errno -ffp-contract=off -fopenmp -shared -fPIC
 *
 * A part is a piece of a tensor: addresses of p, g and the state, and a length. Threads take parts in turn.
 */
#include <math.h>

typedef struct {
    float *restrict p;
    const float *restrict g;
    float *restrict a;
    float *restrict b;
    long n;
} part;

typedef struct {
    float lr, beta1, beta2, eps, decay, scale, c1, c2;
} numbers;

#define UPDATE(name, ...)                                                                    \
    static void name##_part(const part *t, const numbers *h) {                               \
        float *restrict p = t->p, *restrict a = t->a, *restrict b = t->b;                     \
        const float *restrict g = t->g;                                                       \
        const float lr = h->lr, beta1 = h->beta1, beta2 = h->beta2, eps = h->eps;             \
        const float decay = h->decay, rate = h->lr / h->c1, root = sqrtf(h->c2);              \
        const long n = t->n;                                                                  \
        (void)lr, (void)beta1, (void)beta2, (void)eps, (void)decay, (void)rate, (void)root;   \
        for (long i = 0; i < n; i++) {                                                        \
            __VA_ARGS__                                                                       \
        }                                                                                     \
    }                                                                                         \
    void name(const part *parts, long count, const numbers *h, int threads) {                 \
        if (threads == 1) {                                                                   \
            for (long i = 0; i < count; i++) name##_part(parts + i, h);                       \
            return;                                                                           \
        }                                                                                     \
        const long step = count / 64 + 1;                                                     \
        _Pragma("omp parallel for schedule(dynamic, step) num_threads(threads)")                 \
        for (long i = 0; i < count; i++) name##_part(parts + i, h);                           \
    }

UPDATE(sgd, a[i] = beta1 * a[i] + g[i]; p[i] -= lr * a[i];)

UPDATE(rmsprop, a[i] = beta2 * a[i] + (1 - beta2) * g[i] * g[i]; p[i] -= lr * g[i] / (sqrtf(a[i]) + eps);)

UPDATE(adam, a[i] = beta1 * a[i] + (1 - beta1) * g[i]; b[i] = beta2 * b[i] + (1 - beta2) * g[i] * g[i];
       p[i] -= rate * a[i] / (sqrtf(b[i]) / root + eps);)

UPDATE(adamw, a[i] = beta1 * a[i] + (1 - beta1) * g[i]; b[i] = beta2 * b[i] + (1 - beta2) * g[i] * g[i];
       p[i] = p[i] - lr * decay * p[i] - rate * a[i] / (sqrtf(b[i]) / root + eps);)

/* the bandwidth of updates in place: every byte is read and written back */
UPDATE(stream, p[i] = p[i] * beta1;)
