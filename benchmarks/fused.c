/* What benchmarks/updates.py and recipe.py compare with: one pass over memory, by hand, for many tensors.
 *
 * gcc -O3 -march=native -fno-math-errno -ffp-contract=off -fopenmp -shared -fPIC
 *
 * A part is a piece of a tensor: addresses of p, g, the state and the average, and a length. Threads take parts
 * in turn.
 */
#include <math.h>

typedef struct {
    float *restrict p;
    const float *restrict g;
    float *restrict a;
    float *restrict b;
    float *restrict e;
    long n;
} part;

typedef struct {
    float lr, beta1, beta2, eps, decay, c1, c2, unscale, limit, share;
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

/* the bandwidth of updates in place: every byte is read and written back; c1 is 1, so that values stay */
UPDATE(stream, p[i] = p[i] * h->c1;)

/* the recipe: the norm of all gradients, then unscale, clip, AdamW and the moving average in one pass */
#define SUMS 32

static double squares(const float *restrict g, long n) {
    double sums[SUMS] = {0}, sum = 0;
    long i = 0;
    for (; i + SUMS <= n; i += SUMS)
        for (long j = 0; j < SUMS; j++) sums[j] += (double)g[i + j] * (double)g[i + j];
    for (; i < n; i++) sum += (double)g[i] * (double)g[i];
    for (long j = 0; j < SUMS; j++) sum += sums[j];
    return sum;
}

void norm(const part *parts, long count, double *result, int threads) {
    const long step = count / 64 + 1;
    double sum = 0;
    _Pragma("omp parallel for schedule(dynamic, step) num_threads(threads) reduction(+ : sum)")
    for (long i = 0; i < count; i++) sum += squares(parts[i].g, parts[i].n);
    *result = sqrt(sum);
}

static void recipe_part(const part *t, const numbers *h, float factor) {
    float *restrict p = t->p, *restrict a = t->a, *restrict b = t->b, *restrict e = t->e;
    const float *restrict g = t->g;
    const float beta1 = h->beta1, beta2 = h->beta2, eps = h->eps, decay = h->lr * h->decay, share = h->share;
    const float rate = h->lr / h->c1, root = 1 / sqrtf(h->c2);
    const long n = t->n;
    for (long i = 0; i < n; i++) {
        const float d = g[i] * factor;
        a[i] = beta1 * a[i] + (1 - beta1) * d;
        b[i] = beta2 * b[i] + (1 - beta2) * d * d;
        p[i] = p[i] - decay * p[i] - rate * a[i] / (sqrtf(b[i]) * root + eps);
        e[i] = e[i] + share * (p[i] - e[i]);
    }
}

void recipe(const part *parts, long count, const numbers *h, int threads) {
    const long step = count / 64 + 1;
    double length;
    norm(parts, count, &length, threads);
    const float factor = (float)(fmin(1.0, h->limit / (length * h->unscale + 1e-6)) * h->unscale);
    _Pragma("omp parallel for schedule(dynamic, step) num_threads(threads)")
    for (long i = 0; i < count; i++) recipe_part(parts + i, h, factor);
}
