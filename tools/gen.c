/*
 * gen.c - `quire gen`: sample records, the same for the same seed.
 *
 * The one shape there is, `crimes`, has the columns of the crime records that
 * the City of Chicago publishes and their manner: identifiers that mostly
 * ascend (neighbours are swapped now and then, homicides have low ones),
 * skewed categories, empty coordinates, fields with commas and doubled quotes.
 * Each record is made from the seed and its number alone. No printf: a million
 * records, 200 MB, are to take about a second.
 */
#include <string.h>

#include "tools/tool.h"

#define BUFFER_BYTES (64u * 1024)
#define RECORD_BYTES_MAX 1024u /* of one record, by far */

struct gen {
    char buf[BUFFER_BYTES];
    size_t len;            /* bytes in buf */
    uint64_t random;       /* state of the record's generator */
    uint64_t nhomicides;   /* so far */
    uint64_t crimes_total; /* sums of the weights */
    uint64_t places_total;
};

struct crime {
    uint32_t weight; /* in a million, about */
    const char *iucr;
    const char *type;
    const char *description;
    const char *fbi;
};

/* By falling weight, so that a choice looks at few of them. */
static const struct crime crimes[] = {
    { 90933, "0820", "THEFT", "$500 AND UNDER", "06" },
    { 90505, "0486", "BATTERY", "DOMESTIC BATTERY SIMPLE", "08B" },
    { 60067, "0460", "BATTERY", "SIMPLE", "08B" },
    { 56945, "0810", "THEFT", "OVER $500", "06" },
    { 53736, "1320", "CRIMINAL DAMAGE", "TO VEHICLE", "14" },
    { 52152, "1310", "CRIMINAL DAMAGE", "TO PROPERTY", "14" },
    { 46418, "0560", "ASSAULT", "SIMPLE", "08A" },
    { 38507, "0890", "THEFT", "FROM BUILDING", "06" },
    { 36237, "0860", "THEFT", "RETAIL THEFT", "06" },
    { 36096, "0910", "MOTOR VEHICLE THEFT", "AUTOMOBILE", "07" },
    { 30145, "0610", "BURGLARY", "FORCIBLE ENTRY", "05" },
    { 19340, "1153", "DECEPTIVE PRACTICE",
      "FINANCIAL IDENTITY THEFT OVER $ 300", "11" },
    { 17346, "031A", "ROBBERY", "ARMED: HANDGUN", "03" },
    { 17257, "0620", "BURGLARY", "UNLAWFUL ENTRY", "05" },
    { 15317, "2820", "OTHER OFFENSE", "TELEPHONE THREAT", "26" },
    { 13753, "1150", "DECEPTIVE PRACTICE", "CREDIT CARD FRAUD", "11" },
    { 13666, "1330", "CRIMINAL TRESPASS", "TO LAND", "26" },
    { 13593, "0320", "ROBBERY", "STRONGARM - NO WEAPON", "03" },
    { 11366, "143A", "WEAPONS VIOLATION", "UNLAWFUL POSS OF HANDGUN", "15" },
    { 10865, "051A", "ASSAULT", "AGGRAVATED: HANDGUN", "04A" },
    { 10600, "2825", "OTHER OFFENSE", "HARASSMENT BY TELEPHONE", "26" },
    { 10168, "2826", "OTHER OFFENSE", "HARASSMENT BY ELECTRONIC MEANS", "26" },
    { 9821, "1811", "NARCOTICS", "POSS: CANNABIS 30GMS OR LESS", "18" },
    { 8805, "041A", "BATTERY", "AGGRAVATED: HANDGUN", "04B" },
    { 8198, "2024", "NARCOTICS", "POSS: HEROIN(WHITE)", "18" },
    { 7907, "0870", "THEFT", "POCKET-PICKING", "06" },
    { 6996, "0430", "BATTERY", "AGGRAVATED: OTHER DANG WEAPON", "04B" },
    { 6670, "1130", "DECEPTIVE PRACTICE", "FRAUD OR CONFIDENCE GAME", "11" },
    { 5969, "4387", "OTHER OFFENSE", "VIOLATE ORDER OF PROTECTION", "26" },
    { 4051, "0470", "PUBLIC PEACE VIOLATION", "RECKLESS CONDUCT", "24" },
    { 3874, "0281", "CRIM SEXUAL ASSAULT", "NON-AGGRAVATED", "02" },
    { 3571, "0498", "BATTERY",
      "AGGRAVATED DOMESTIC BATTERY: HANDS/FIST/FEET SERIOUS INJURY", "04B" },
    { 2721, "0110", "HOMICIDE", "FIRST DEGREE MURDER", "01A" },
};

struct place {
    uint32_t weight;
    const char *text; /* as it stands in the file, quoted if need be */
};

static const struct place places[] = {
    { 225358, "STREET" },
    { 170626, "RESIDENCE" },
    { 126128, "APARTMENT" },
    { 82925, "SIDEWALK" },
    { 42122, "OTHER" },
    { 30570, "PARKING LOT/GARAGE(NON.RESID.)" },
    { 23662, "SMALL RETAIL STORE" },
    { 23408, "RESTAURANT" },
    { 20272, "RESIDENTIAL YARD (FRONT/BACK)" },
    { 19718, "ALLEY" },
    { 18222, "RESIDENCE-GARAGE" },
    { 17792, "VEHICLE NON-COMMERCIAL" },
    { 17122, "RESIDENCE PORCH/HALLWAY" },
    { 16267, "DEPARTMENT STORE" },
    { 14200, "\"SCHOOL, PUBLIC, BUILDING\"" },
    { 13100, "GROCERY FOOD STORE" },
    { 11800, "GAS STATION" },
    { 9600, "PARK PROPERTY" },
    { 8900, "COMMERCIAL / BUSINESS OFFICE" },
    { 5600, "\"SCHOOL, PUBLIC, GROUNDS\"" },
    { 4700, "CTA TRAIN" },
    { 3800, "" },
    { 3300, "\"HOTEL, MOTEL\"" },
    { 1400, "\"CTA \"\"L\"\" TRAIN\"" },
};

static const char *const streets[] = {
    "STATE ST",          "MICHIGAN AVE",  "HALSTED ST",    "ASHLAND AVE",
    "WESTERN AVE",       "CICERO AVE",    "PULASKI RD",    "KEDZIE AVE",
    "CALIFORNIA AVE",    "SHERIDAN RD",   "CLARK ST",      "DAMEN AVE",
    "COTTAGE GROVE AVE", "MADISON ST",    "ROOSEVELT RD",  "NORTH AVE",
    "BELMONT AVE",       "LAWRENCE AVE",  "DIVISION ST",   "CHICAGO AVE",
    "ARCHER AVE",        "MILWAUKEE AVE", "LAKE SHORE DR", "CENTRAL AVE",
    "LARAMIE AVE",       "AUSTIN AVE",    "KOSTNER AVE",   "HAMLIN AVE",
    "AVERS AVE",         "LOTUS AVE",     "LOCKWOOD AVE",  "PRAIRIE AVE",
    "INDIANA AVE",       "CALUMET AVE",   "DREXEL BLVD",   "KIMBARK AVE",
    "STONY ISLAND AVE",  "JEFFERY BLVD",  "EXCHANGE AVE",  "COMMERCIAL AVE",
    "EWING AVE",         "VINCENNES AVE", "RACINE AVE",    "MORGAN ST",
    "LOOMIS BLVD",       "THROOP ST",     "MAY ST",        "ABERDEEN ST",
    "PEORIA ST",         "SANGAMON ST",   "GREEN ST",      "UNION AVE",
    "WALLACE ST",        "NORMAL AVE",    "EGGLESTON AVE", "PRINCETON AVE",
    "WENTWORTH AVE",     "LA SALLE ST",   "WABASH AVE",    "DEARBORN ST",
    "TERMINAL ST",       "FULLERTON AVE", "DIVERSEY AVE",  "IRVING PARK RD",
};

static const char header[] =
    "ID,Case Number,Date,Block,IUCR,Primary Type,Description,Location "
    "Description,Arrest,Domestic,Beat,District,Ward,Community Area,FBI Code,X "
    "Coordinate,Y Coordinate,Updated On,Latitude,Longitude\n";

/* splitmix64. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* 0 .. n-1. */
static uint64_t below(struct gen *g, uint64_t n)
{
    return next_random(&g->random) % n;
}

static void put_text(struct gen *g, const char *text)
{
    size_t len = strlen(text);

    memcpy(g->buf + g->len, text, len);
    g->len += len;
}

/* `n` with at least `width` digits. */
static void put_number(struct gen *g, uint64_t n, unsigned width)
{
    char digits[20];
    unsigned i = 0;

    do {
        digits[i++] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0 || i < width);
    while (i > 0)
        g->buf[g->len++] = digits[--i];
}

static void put_comma(struct gen *g)
{
    g->buf[g->len++] = ',';
}

/* A time as "01/31/2016 12:05:00 AM". Months have 28 to 31 days of their own,
 * leap years are left out. */
static void put_time(struct gen *g, uint64_t minute, uint64_t second)
{
    static const unsigned month_days[12] = { 31, 28, 31, 30, 31, 30,
                                             31, 31, 30, 31, 30, 31 };
    uint64_t day = minute / (24 * 60);
    uint64_t year = 2016 + day / 365;
    uint64_t hour = minute / 60 % 24;
    unsigned month = 0;

    day %= 365;
    while (day >= month_days[month])
        day -= month_days[month++];
    put_number(g, month + 1, 2);
    put_text(g, "/");
    put_number(g, day + 1, 2);
    put_text(g, "/");
    put_number(g, year, 4);
    put_text(g, " ");
    put_number(g, (hour + 11) % 12 + 1, 2);
    put_text(g, ":");
    put_number(g, minute % 60, 2);
    put_text(g, ":");
    put_number(g, second, 2);
    put_text(g, hour < 12 ? " AM" : " PM");
}

static const struct crime *pick_crime(struct gen *g)
{
    uint64_t at = below(g, g->crimes_total);
    size_t i = 0;

    while (at >= crimes[i].weight)
        at -= crimes[i++].weight;
    return &crimes[i];
}

static const char *pick_place(struct gen *g)
{
    uint64_t at = below(g, g->places_total);
    size_t i = 0;

    while (at >= places[i].weight)
        at -= places[i++].weight;
    return places[i].text;
}

/* The record's identifier. Ordinary ones lie two apart; in one of 58 pairs of
 * neighbours the second comes first. */
static uint64_t record_id(struct gen *g, uint64_t seed, uint64_t i,
                          const struct crime *c)
{
    uint64_t pair = seed ^ (i / 2);

    if (strcmp(c->type, "HOMICIDE") == 0)
        return 20000 + g->nhomicides++;
    if (next_random(&pair) % 58 == 0)
        i ^= 1;
    return 10000000 + 2 * i + (i % 7 == 0);
}

/* X and Y are in feet; a degree is so many of them. Billionths of a degree
 * are written after the point. */
static void put_position(struct gen *g)
{
    uint64_t x = 1091000 + below(g, 114000);
    uint64_t y = 1813000 + below(g, 138000);
    uint64_t latitude = 41641900000 + (y - 1813000) * 2743210 / 1000;
    uint64_t longitude = 87939700000 - (x - 1091000) * 3660430 / 1000;

    put_number(g, x, 1);
    put_comma(g);
    put_number(g, y, 1);
    put_text(g, ",02/10/2018 03:50:01 PM,");
    put_number(g, latitude / 1000000000, 1);
    put_text(g, ".");
    put_number(g, latitude % 1000000000, 9);
    put_text(g, ",-");
    put_number(g, longitude / 1000000000, 1);
    put_text(g, ".");
    put_number(g, longitude % 1000000000, 9);
}

static void put_record(struct gen *g, uint64_t seed, uint64_t i)
{
    static const char *const winds[] = { " N ", " S ", " E ", " W " };
    uint64_t pick = seed;
    const struct crime *c;
    uint64_t district;

    g->random = next_random(&pick) + i;
    c = pick_crime(g);
    put_number(g, record_id(g, seed, i, c), 1);
    put_text(g, ",H");
    g->buf[g->len++] = (char)('A' + i / 900000 % 26);
    put_number(g, 100000 + i % 900000, 6);
    put_comma(g);
    put_time(g, i * 2 + below(g, 300), 0); /* 262,800 records a year */
    put_comma(g);
    put_number(g, below(g, 130), 3);
    put_text(g, "XX");
    put_text(g, winds[below(g, 4)]);
    put_text(g, streets[below(g, ARRAY_LEN(streets))]);
    put_comma(g);
    put_text(g, c->iucr);
    put_comma(g);
    put_text(g, c->type);
    put_comma(g);
    put_text(g, c->description);
    put_comma(g);
    put_text(g, pick_place(g));
    put_text(g, below(g, 100) < 20 ? ",true" : ",false");
    put_text(g, below(g, 100) < 16 ? ",true," : ",false,");
    district = 1 + below(g, 25);
    put_number(g, district * 100 + 11 + below(g, 4) * 10 + below(g, 4), 4);
    put_comma(g);
    put_number(g, district, 3);
    put_comma(g);
    put_number(g, 1 + below(g, 50), 1);
    put_comma(g);
    put_number(g, 1 + below(g, 77), 1);
    put_comma(g);
    put_text(g, c->fbi);
    put_comma(g);
    if (below(g, 1000) < 8)
        put_text(g, ",,02/10/2018 03:50:01 PM,,");
    else
        put_position(g);
    put_text(g, "\n");
}

static int flush(struct gen *g)
{
    size_t n = fwrite(g->buf, 1, g->len, stdout);
    bool lost = n != g->len;

    g->len = 0;
    if (lost)
        say("standard output: %m");
    return lost ? -1 : 0;
}

static const char gen_help[] =
    "usage: quire gen --shape crimes --records N [--seed S]\n"
    "\n"
    "Print N made-up records as CSV with a header line, the same for the same\n"
    "seed. About 200 bytes a record.\n"
    "\n"
    "  --shape crimes     20 columns like those of Chicago's crime records;\n"
    "                     load them with --key ID:int\n"
    "  --records N        how many\n"
    "  --seed S           a number (1)\n";

int cmd_gen(int argc, char **argv)
{
    static struct gen g; /* static: 64 KiB */
    const char *shape = NULL;
    uint64_t nrecords = 0;
    uint64_t seed = 1;
    bool given = false;
    const struct option options[] = {
        { "--shape", OPTION_TEXT, &shape, NULL },
        { "--records", OPTION_COUNT, &nrecords, &given },
        { "--seed", OPTION_COUNT, &seed, NULL },
    };
    int nargs;
    int status = options_read("gen", gen_help, options, ARRAY_LEN(options),
                              argc, argv, &nargs);

    if (status >= 0)
        return status;
    if (nargs > 0)
        return say_usage("gen", "%s: it takes no arguments", argv[0]);
    if (shape == NULL || strcmp(shape, "crimes") != 0)
        return say_usage("gen", "--shape crimes is required, the only one");
    if (!given)
        return say_usage("gen", "--records N is required");
    for (size_t i = 0; i < ARRAY_LEN(crimes); i++)
        g.crimes_total += crimes[i].weight;
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        g.places_total += places[i].weight;
    put_text(&g, header);
    for (uint64_t i = 0; i < nrecords; i++) {
        put_record(&g, seed, i);
        if (g.len > BUFFER_BYTES - RECORD_BYTES_MAX && flush(&g) != 0)
            return EXIT_FAILED;
    }
    if (flush(&g) != 0 || stdout_finish() != 0)
        return EXIT_FAILED;
    return EXIT_OK;
}
