"""Classes of FLAIR-HUB, whose numbers are others than those of FLAIR #1 and #2."""

from benchmark.data.classes import ClassSet, LandClass

COSIA = ClassSet(
    "flairhub-19",
    tuple(
        LandClass(name, color, (value,), french, ignored=value >= 15)
        for value, (name, french, color) in enumerate(
            (
                ("building", "bâtiment", "#db0e9a"),
                ("greenhouse", "serre", "#9999ff"),
                ("swimming pool", "piscine", "#3de6eb"),
                ("impervious surface", "zone imperméable", "#f80c00"),
                ("pervious surface", "zone perméable", "#938e7b"),
                ("bare soil", "sol nu", "#a97101"),
                ("water", "eau", "#1553ae"),
                ("snow", "neige", "#ffffff"),
                ("herbaceous vegetation", "surface herbacée", "#55ff00"),
                ("agricultural land", "culture", "#fff30d"),
                ("plowed land", "terre labourée", "#e4df7c"),
                ("vineyard", "vigne", "#660082"),
                ("deciduous", "feuillu", "#46e483"),
                ("coniferous", "conifère", "#194a26"),
                ("brushwood", "broussaille", "#f3a60d"),
                ("clear cut", "coupe", "#8ab3a0"),
                ("ligneous", "ligneux", "#c5dc42"),
                ("mixed", "mixte", "#6b714f"),
                ("undefined", "indéterminé", "#000000"),
            )
        )
    ),
)
"""The nineteen values of AERIAL_LABEL-COSIA. The last four have weight 0 in IGN's loss and metric (IGNF/FLAIR-HUB,
configs/train/config_supervision.yaml); names and colours are from its README."""

LPIS = ClassSet(
    "flairhub-lpis-23",
    tuple(
        LandClass(name, color, (value,), french)
        for value, (name, french, color) in enumerate(
            (
                ("grasses", "herbe prédominante", "#92d050"),
                ("wheat", "blé", "#d7e600"),
                ("barley", "orge", "#e0e000"),
                ("maize", "maïs", "#fff100"),
                ("other cereals", "autres céréales", "#ffff00"),
                ("rice", "riz", "#e8e8e8"),
                ("flax/hemp/tobacco", "lin/chanvre/tabac", "#dceaf7"),
                ("sunflower", "tournesol", "#d29ead"),
                ("rapeseed", "colza", "#d29ed0"),
                ("other oilseed crops", "autres oléagineux", "#ffbe99"),
                ("soy", "soja", "#ffc000"),
                ("other protein crops", "autres protéagineux", "#ff9000"),
                ("fodder legumes", "légumineuses fourragères", "#009999"),
                ("beetroots", "betterave", "#808000"),
                ("potatoes", "pomme de terre", "#a7a700"),
                ("other arable crops", "autres arables", "#89896d"),
                ("vineyard", "vigne", "#f2cfee"),
                ("olive groves", "oliveraie", "#6f6633"),
                ("fruit orchards", "verger fruits", "#ac8141"),
                ("nut orchards", "verger noix", "#996633"),
                ("other permanent crops", "autres pérennes", "#80c1d7"),
                ("mixed crops", "mélange", "#010101"),  # IGN: black, as the background; two classes need two colours
                ("background", "autres", "#000000"),
            )
        )
    ),
    mask_band=1,
)
"""The first of the three bands of ALL_LABEL-LPIS, the level of 23 crops (the others have 31 and 46). All have weight 1,
the background too (same configuration); names and colours are from the README."""
